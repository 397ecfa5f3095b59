package manifest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The names of what is outside, in an assertion.
const (
	theInternet = "internet" // whatever an egress leads to
	thePeople   = "people"   // whoever uses the gateway
)

// Assert says what must not flow where.
type Assert struct {
	Pos      Pos
	From, To string   // names of the manifest, internet or people
	Except   []string // services and gates that what flows may pass through
}

// String is the assertion as the manifest has it.
func (s Assert) String() string {
	text := s.From + " -/-> " + s.To
	if len(s.Except) > 0 {
		text += " except " + strings.Join(s.Except, ", ")
	}
	return text
}

var asserts = regexp.MustCompile(`^(\S+) -/-> (\S+)(?: except ([^,\s]+(?:, ?[^,\s]+)*))?$`)

// parseAssert reads an assertion.
func parseAssert(line string) (s Assert, ok bool) {
	m := asserts.FindStringSubmatch(line)
	if m == nil {
		return s, false
	}
	s = Assert{From: m[1], To: m[2]}
	if m[3] != "" {
		for _, name := range strings.Split(m[3], ",") {
			s.Except = append(s.Except, strings.TrimSpace(name))
		}
	}
	return s, true
}

// Assert tells whether one more assertion, in the words of the manifest, holds. The
// error says what breaks it, or what is wrong with it.
func (a *App) Assert(line string) error {
	s, ok := parseAssert(line)
	if !ok {
		return fmt.Errorf("%.64q is not %s", line, anAssert)
	}
	r := &reader{}
	r.checkAssertNames(value{node: &yaml.Node{}}, a, s)
	for _, e := range r.found {
		return fmt.Errorf("%s: %s", e.Message, cmp.Or(e.Hint, "see assert in docs/MANIFEST.md"))
	}
	steps := maxFlowSteps
	found, err := a.violation(s, &steps)
	switch {
	case err != nil:
		return fmt.Errorf("it cannot be told whether that holds: %w", err)
	case found != nil:
		return fmt.Errorf("%s does reach %s: %s", s.From, s.To, pathText(found.path()))
	}
	return nil
}

func readAsserts(r *reader, v value, a *App) {
	r.list(v, someAsserts, maxList, func(v value) {
		line, ok := r.text(v, anAssert)
		if !ok {
			return
		}
		s, ok := parseAssert(line)
		if !ok {
			r.refuse(v, "", "%.64q is not %s", line, anAssert)
			return
		}
		s.Pos = v.pos()
		a.Asserts = append(a.Asserts, s)
		r.check(func(a *App) { r.checkAssertNames(v, a, s) })
	})
}

// checkAssertNames refuses a name that means nothing: an assertion about it would
// hold whatever the manifest says.
func (r *reader) checkAssertNames(v value, a *App, s Assert) {
	for _, name := range []string{s.From, s.To} {
		if names := a.flowNames(); !slices.Contains(names, name) {
			r.refuse(v, r.didYouMean(name, names), "nothing is called %.64q", name)
		}
	}
	var services []string
	for _, svc := range a.Services {
		services = append(services, svc.Name)
		for _, p := range svc.Provides {
			if p.Gate != nil {
				services = append(services, svc.Name+"."+p.Call)
			}
		}
	}
	for _, name := range s.Except {
		if !slices.Contains(services, name) {
			r.refuse(v, r.didYouMean(name, services), "no service or gate is called %.64q", name)
		}
	}
}

// flowNames are all that data can come from or get to.
func (a *App) flowNames() (names []string) {
	for _, s := range a.Services {
		names = append(names, s.Name)
		for _, o := range s.Volumes {
			names = append(names, o.Name)
		}
		for _, u := range s.Uses {
			if u.Egress != "" {
				names = append(names, u.Egress)
			}
		}
	}
	for _, m := range a.Mailboxes {
		names = append(names, m.Name)
	}
	for _, s := range a.Shares {
		names = append(names, s.Name)
	}
	return append(names, theInternet, thePeople)
}
