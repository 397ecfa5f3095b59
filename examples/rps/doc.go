// Package rps is rock-paper-scissors between programs of strangers: README.md.
package rps
