package numbers

import (
	"encoding/hex"
	"time"
)

// Span is one call, or one request over HTTP, as OpenTelemetry has it. IDs are in
// hexadecimal.
type Span struct {
	Trace  string `json:"trace"`
	ID     string `json:"id"`
	Parent string `json:"parent,omitempty"` // "" for the first of its trace
	Link   string `json:"link,omitempty"`   // a traceparent that somebody outside gave

	Caller  string        `json:"caller"`
	Service string        `json:"service"` // that was asked; "" if it is none
	Method  string        `json:"method"`  // of the service, or of HTTP
	Start   time.Time     `json:"start"`
	Took    time.Duration `json:"took_ns"`
	Denied  bool          `json:"denied,omitempty"`
	Error   string        `json:"error,omitempty"`  // the code with which it ended, "" if well
	Status  int           `json:"status,omitempty"` // of a request over HTTP
}

// At sets the place of s in a trace, below parent, which is zero for none.
func (s *Span) At(trace [16]byte, span, parent [8]byte) {
	s.Trace, s.ID, s.Parent = hex.EncodeToString(trace[:]), hex.EncodeToString(span[:]), ""
	if parent != [8]byte{} {
		s.Parent = hex.EncodeToString(parent[:])
	}
}
