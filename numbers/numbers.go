// Package numbers says what is counted, and how.
//
// Whoever does something holds what counts it: a [Counter] or a [Histogram] is a field
// of the object that is at hand anyhow, and to count is one addition, without a lock, a
// map or memory. What they say together is a [Snapshot], made when somebody asks. The
// table in metric.go gives each of its numbers the name that it has outside.
//
// No number is of a process, a path, or a principal: of each there are at most as many as
// the manifest has lines, whatever programs do.
//
// Trusted: yes, as part of the process that counts. What it says is for the operator: it
// knows no labels, so whoever may read it may know how often anything happens.
package numbers

import (
	"sync/atomic"
	"time"
)

// Counter only rises. The zero value is ready.
type Counter = atomic.Uint64

// Gauge rises and falls. The zero value is ready.
type Gauge = atomic.Int64

// Snapshot is what was counted since the application was started, and what there is
// now.
type Snapshot struct {
	Time     time.Time     `json:"time"`
	Uptime   time.Duration `json:"uptime_ns"`
	Version  string        `json:"version"`
	Services []Service     `json:"services"` // by name

	Mailboxes []Mailbox `json:"mailboxes,omitempty"` // those of the manifest, by name
	Records   uint64    `json:"records"`             // in the audit log, by this application since it started
	Conns     int64     `json:"conns"`               // wire connections of all environments
	Budget    Waiting   `json:"budget,omitzero"`     // for the application's budget
	Traces    Traces    `json:"traces,omitzero"`
}

// Traces is what became of spans.
type Traces struct {
	Made    uint64 `json:"made"`    // and waiting, handed over or dropped
	Dropped uint64 `json:"dropped"` // because nobody took them in time
}

// Waiting is a queue.
type Waiting struct {
	Depth int           `json:"depth"`          // who waits now
	Waits HistogramCopy `json:"waits,omitzero"` // how long those waited whose turn came
}

// Service is one service.
type Service struct {
	Name string `json:"name"`

	States   map[string]int    `json:"states"` // instances, or the service itself if it has none now, by state
	Starts   uint64            `json:"starts"`
	Exits    map[string]uint64 `json:"exits,omitempty"`    // by cause
	Restarts map[string]uint64 `json:"restarts,omitempty"` // by cause

	CPU         time.Duration `json:"cpu_ns"`       // of all its instances, those that have ended too
	MemoryBytes int64         `json:"memory_bytes"` // of those that run
	MemoryLimit int64         `json:"memory_limit"` // of all of them together; 0 for none
	Pids        int           `json:"pids"`
	OutputBytes uint64        `json:"output_bytes"` // printed, by all

	Decisions []Decision        `json:"decisions,omitempty"` // on what it asked for
	Denials   map[string]uint64 `json:"denials,omitempty"`   // of those, by what decided
	Limits    map[string]uint64 `json:"limits,omitempty"`    // how often one was hit
	Links     []Link            `json:"links,omitempty"`     // connections that it has made
	Methods   []Method          `json:"methods,omitempty"`   // that it answers
	MountRefs int               `json:"mount_refs,omitempty"`
	Places    Waiting           `json:"places,omitzero"` // who waits for an instance of his own
}

// Decision is how often one operation was decided on.
type Decision struct {
	Op      string `json:"op"`
	Allowed uint64 `json:"allowed"`
	Denied  uint64 `json:"denied"`
}

// Link is the connections of a service by one grant.
type Link struct {
	To       string `json:"to"` // service:port, or host:port
	Open     int64  `json:"open"`
	Total    uint64 `json:"total"`
	OutBytes uint64 `json:"out_bytes"`
	InBytes  uint64 `json:"in_bytes"`
}

// Method is the calls of one method, at whoever answers it.
type Method struct {
	Name     string            `json:"name"`
	Ended    map[string]uint64 `json:"ended,omitempty"`   // by code
	Running  int64             `json:"running"`           // queued or being answered
	Queued   int               `json:"queued"`            // of those, that wait for somebody who answers
	Waits    HistogramCopy     `json:"waits,omitzero"`    // how long those waited that were sent then
	Duration HistogramCopy     `json:"duration,omitzero"` // from the request to the answer, or to what ended the call instead
	InBytes  uint64            `json:"in_bytes"`          // requests
	OutBytes uint64            `json:"out_bytes"`         // answers
}

// Mailbox is one declared mailbox.
type Mailbox struct {
	Name     string `json:"name"`
	Messages int    `json:"messages"` // that wait in it
	Bytes    int    `json:"bytes"`
	Received uint64 `json:"received"` // messages that found room
	Dropped  uint64 `json:"dropped"`  // that did not
}

// Calls is how many calls have ended, and how many of them not well.
func (s *Service) Calls() (ended, failed uint64) {
	for i := range s.Methods {
		for code, n := range s.Methods[i].Ended {
			ended += n
			if code != "ok" {
				failed += n
			}
		}
	}
	return ended, failed
}

// Denied is how often it was refused something.
func (s *Service) Denied() (n uint64) {
	for _, d := range s.Decisions {
		n += d.Denied
	}
	return n
}

// Restarted is how often an instance of it was replaced.
func (s *Service) Restarted() (n uint64) {
	for _, by := range s.Restarts {
		n += by
	}
	return n
}

// Waiting is how many wait for it: calls, and who wants an instance.
func (s *Service) Waiting() int {
	n := s.Places.Depth
	for i := range s.Methods {
		n += s.Methods[i].Queued
	}
	return n
}

// Duration is that of the calls of all its methods.
func (s *Service) Duration() (h HistogramCopy) {
	for i := range s.Methods {
		h = h.Plus(s.Methods[i].Duration)
	}
	return h
}

// ByName is all services.
func (s *Snapshot) ByName() map[string]*Service {
	all := make(map[string]*Service, len(s.Services))
	for i := range s.Services {
		all[s.Services[i].Name] = &s.Services[i]
	}
	return all
}

// Service is the one with that name, nil if there is none.
func (s *Snapshot) Service(name string) *Service {
	for i := range s.Services {
		if s.Services[i].Name == name {
			return &s.Services[i]
		}
	}
	return nil
}
