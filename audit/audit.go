// Package audit says what was decided.
//
// A [Log] is a file of JSON lines, each carrying the SHA-256 of the line before
// it: append-only, and verifiable by [Verify] without us.
//
// Trusted: yes. What it loses, nobody can reconstruct.
package audit
