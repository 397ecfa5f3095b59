package canary

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"cofferdam/executor"
)

// Report is what the canary found.
type Report struct {
	Proofs []Proof
	// By protection, in the order that the executor lists them.
	Held    []string // proven
	Missing []string // the host lacks it, and the manifest lets it go: not tried
	Untried []string // there is no probe, or only a deep one
}

// Proof is what became of one probe.
type Proof struct {
	Protection string `json:"protection"`
	Probe      string `json:"probe"`
	Want       string `json:"want"`              // the only right answer inside
	Got        string `json:"got"`               // the answer inside
	Outside    string `json:"outside,omitempty"` // the answer outside, the control; none if it holds its own
}

// Holds tells whether the answer is the right one.
func (p Proof) Holds() bool { return p.Got == p.Want }

// Void tells that the probe proves nothing: it gives this answer outside too.
func (p Proof) Void() bool { return p.Outside == p.Want }

// ErrNotKept is wrapped by the error of a [Report] in which something does not hold.
var ErrNotKept = errors.New("does not hold")

// judge puts the answers of both sides together. What the host lacks is left out:
// nobody says that it holds.
func judge(all []executor.Protection, outside, answers []string, from ids) Report {
	var r Report
	for i, p := range probes {
		if !passes(all, p.proves) {
			continue
		}
		proof := Proof{Protection: p.proves, Probe: p.name, Want: p.want, Got: answers[i]}
		if !p.state {
			proof.Outside = outside[i]
		}
		r.Proofs = append(r.Proofs, proof)
	}
	if passes(all, "uid-range") {
		r.Proofs = append(r.Proofs, Proof{Protection: "uid-range", Probe: "be one of the host's users", Want: own, Got: whose(from)})
	}
	if passes(all, "peer-identity") {
		r.Proofs = append(r.Proofs, Proof{Protection: "peer-identity", Probe: "connect, and be known", Want: known, Got: from.peer, Outside: from.stranger})
	}
	return r
}

// whose tells whether ids are those of somebody that the trusted process is.
func whose(from ids) string {
	if slices.Contains([]int{0, os.Getuid(), os.Geteuid()}, from.uid) || slices.Contains([]int{0, os.Getgid(), os.Getegid()}, from.gid) {
		return shared
	}
	return own
}

func passes(all []executor.Protection, name string) bool {
	return slices.ContainsFunc(all, func(p executor.Protection) bool { return p.Name == name && p.Status == executor.Pass })
}

// settle sums up by protection.
func (r *Report) settle(all []executor.Protection) {
	r.Proofs = slices.DeleteFunc(r.Proofs, func(p Proof) bool { return !passes(all, p.Protection) })
	for _, p := range all {
		tried, valid := r.of(p.Name)
		switch {
		case p.Status != executor.Pass:
			r.Missing = append(r.Missing, p.Name)
		case !tried:
			r.Untried = append(r.Untried, p.Name)
		case valid:
			r.Held = append(r.Held, p.Name)
		}
	}
}

// of tells of a protection whether there was a probe, and whether all of them hold
// and at least one proves something.
func (r *Report) of(name string) (tried, proven bool) {
	holds := true
	for _, p := range r.Proofs {
		if p.Protection == name {
			tried = true
			holds = holds && p.Holds()
			proven = proven || !p.Void()
		}
	}
	return tried, holds && proven
}

// Broken lists the probes that got a wrong answer.
func (r *Report) Broken() []Proof {
	return slices.DeleteFunc(slices.Clone(r.Proofs), Proof.Holds)
}

// Err says what does not hold, or cannot be proven to. It wraps [ErrNotKept].
func (r *Report) Err() error {
	for _, p := range r.Broken() {
		return fmt.Errorf("protection %q %w: %s: the answer is %s, and not %s", p.Protection, ErrNotKept, p.Probe, p.Got, p.Want)
	}
	for _, p := range r.Proofs {
		if _, proven := r.of(p.Protection); !proven {
			return fmt.Errorf("protection %q %w as far as can be told: %s gives %s outside too", p.Protection, ErrNotKept, p.Probe, p.Outside)
		}
	}
	return nil
}

// String is what the audit log says of it.
func (r *Report) String() string {
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"held", r.Held}, {"not tried", r.Untried}, {"not on this host", r.Missing}} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+": "+strings.Join(p.names, " "))
		}
	}
	return fmt.Sprintf("%d probes; %s", len(r.Proofs), strings.Join(parts, "; "))
}
