// Package audit says what was decided.
//
// A [Log] is a file of JSON lines, and the files that were full before it, its
// segments (see [OpenSegments]). Every line is one [Record] and carries, as prev, the
// SHA-256 of the whole line before it, line feed included, across segments too, so
// that anybody can check it with the tools of the system:
//
//	sed -n 41p audit.jsonl | sha256sum   # is the prev of line 42
//
// The chain shows a line that was changed, removed, inserted or moved while the
// lines after it stayed as they were. Against a chain that was computed anew stand
// checkpoints: records that the log signs, every so many records and seconds, when
// it is closed and when it goes on in another segment. A signature covers, by the
// chain, all that stands before it. Against whole lines missing at the end stands
// the checkpoint of a close, what a running application says, or a [Head] that was
// noted elsewhere. [Segments.Verify] holds a log against all of these.
//
// The key lies beside the log (see [Key]): who can read it can sign. What that
// leaves open is in docs/SECURITY.md.
//
// Locks: a Log has one, and holds it while it writes; that of a [Watcher] is taken
// last. It calls nobody.
//
// Trusted: yes. What it loses, nobody can reconstruct.
package audit

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Bounds of a record. A string beyond MaxField bytes is cut and ends in "…".
const (
	MaxField = 1 << 10
	MaxLine  = 64 << 10 // no line is longer, however much of it had to be escaped
)

// Kind is what a record is about.
type Kind string

// The kinds. All but decisions reach the file before Append returns.
const (
	KindDecision Kind = "decision" // the monitor allowed or denied something
	KindStart    Kind = "start"    // an environment was started
	KindExit     Kind = "exit"     // an environment ended
	KindLimit    Kind = "limit"    // a limit fired
	KindHealth   Kind = "health"   // an environment is well again, or unwell
	KindGrant    Kind = "grant"    // a grant was given or taken back at run time
	KindMount    Kind = "mount"    // something was mounted or unmounted
	KindApp      Kind = "app"      // the application as a whole, and this log itself

	KindCheckpoint Kind = "checkpoint" // the log signs what it holds so far
)

// The verdicts. Records that are not decisions have none.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Record is one line. Seq, Time, Prev, Degraded and Checkpoint are set by the log; every
// string may come from a confined program and is escaped.
type Record struct {
	Seq      uint64    `json:"seq"`      // 1 for the first, and no gaps
	Time     time.Time `json:"time"`     // UTC, microseconds
	Prev     string    `json:"prev"`     // SHA-256 of the line before in hex; zeros in the first
	Kind     Kind      `json:"kind"`     // what the record is about
	Subject  string    `json:"subject"`  // the service that asked
	Instance string    `json:"instance"` // the environment that asked

	// Principal is whom the environment runs for, or for whom a door asked.
	Principal string `json:"principal,omitempty"`

	Op      string  `json:"op"`               // what it asked to do: "call", "connect", …
	Object  string  `json:"object"`           // what it asked for
	Verdict string  `json:"verdict"`          // Allow, Deny or ""
	Rule    string  `json:"rule"`             // file:line of the manifest, or "default: nothing is granted"
	Call    uint64  `json:"call,omitempty"`   // the monitor's number of the call, 0 for none
	Detail  string  `json:"detail,omitempty"` // one sentence for people
	End     *End    `json:"end,omitempty"`    // how an environment ended, of a record of kind exit
	Labels  *Labels `json:"labels,omitempty"` // of a decision in which they had a part

	// Degraded names the protections that the host lacks and the manifest lets
	// go: what is recorded was done without them. Set by [Log.Append].
	Degraded string `json:"degraded,omitempty"`

	Checkpoint *Checkpoint `json:"checkpoint,omitempty"` // of a record of kind checkpoint, and of no other
}

// End is how an environment ended. Its cause is the record's object.
type End struct {
	Code        int    `json:"code"`            // exit status; 128+n for signal n
	Limit       string `json:"limit,omitempty"` // the limit that fired, with its value
	Key         string `json:"key,omitempty"`   // the key of the manifest to change
	WallNS      int64  `json:"wall_ns"`         // what it used, as in the executor's usage
	CPUNS       int64  `json:"cpu_ns"`
	MemoryBytes int64  `json:"memory_bytes"`
	Pids        int    `json:"pids"`
	OutputBytes int64  `json:"output_bytes"`
}

// Labels are those that a decision compared, as their text. A label longer than
// MaxField is cut: the verdict was reached on the whole.
type Labels struct {
	Subject   string `json:"subject"`             // who asked
	Clearance string `json:"clearance,omitempty"` // its bound
	Object    string `json:"object,omitempty"`    // what it asked for
	Answer    string `json:"answer,omitempty"`    // what comes back, if that is another
	Out       string `json:"out,omitempty"`       // the privilege that was used to release, "" for none
	In        string `json:"in,omitempty"`        // and to vouch
}

// ErrNotFound says that the log has no record with that number.
var ErrNotFound = errors.New("no such record")

// ID is how people name the record with number seq: in hexadecimal.
func ID(seq uint64) string { return strconv.FormatUint(seq, 16) }

// ParseID is the inverse of [ID]. Upper case is accepted.
func ParseID(s string) (uint64, error) {
	seq, err := strconv.ParseUint(s, 16, 64)
	if err != nil || seq == 0 {
		return 0, fmt.Errorf("record id %q: not a hexadecimal number from 1 to %x", s, uint64(1<<64-1))
	}
	return seq, nil
}
