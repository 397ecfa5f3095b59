package manifest

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"cofferdam/label"
)

// Verdict is whether data gets somewhere.
type Verdict string

// The verdicts.
const (
	CannotReach Verdict = "cannot reach"
	Reaches     Verdict = "reaches"      // and nobody's privilege is used
	OnlyThrough Verdict = "only through" // somebody who uses a privilege on the way
)

// FlowReport says where data can get, on all paths that a manifest leaves.
//
// It holds for programs that do all that they may: that raise themselves as far as
// their clearance, use every privilege, give it away, start every template
// at any label and hand on what they may not read. It is made with the functions that
// decide when it runs. What it says cannot be reached cannot; that something can be
// reached may be said of what would not quite work.
type FlowReport struct {
	Sources []FlowSource `json:"sources"`
	Notes   []string     `json:"notes,omitempty"` // grants that can never be used
}

// FlowSource is where data is from, and where it can get.
type FlowSource struct {
	Name  string     `json:"name"`
	Kind  string     `json:"kind"`
	Label string     `json:"label,omitempty"`
	Sinks []FlowSink `json:"sinks"`
}

// FlowSink is where data can get, or not.
type FlowSink struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Verdict Verdict    `json:"verdict"`
	Through []string   `json:"through,omitempty"` // services and gates: each of them, or with Any one of them
	Any     bool       `json:"any,omitempty"`
	Given   bool       `json:"given,omitempty"` // and only if a privilege is given away on the way
	Path    []FlowStep `json:"path,omitempty"`
}

// FlowStep is one step on a path.
type FlowStep struct {
	At   string   `json:"at"`
	Does string   `json:"does,omitempty"` // what a privilege is used for: "lets go", "vouches" or both
	By   []string `json:"by,omitempty"`   // whose: services and gates
}

// Labelled tells whether anything has a label, or anything is asserted.
func (a *App) Labelled() bool {
	if len(a.Principals) > 0 || len(a.Asserts) > 0 || a.Gateway != nil && a.Gateway.Authenticate != nil {
		return true
	}
	return slices.ContainsFunc(a.Services, func(s *Service) bool { return s.perPrincipal() && !s.Template })
}

// Flow is the report. The error is that the manifest is too large for one.
func (a *App) Flow() (*FlowReport, error) {
	f := flowing{app: a, steps: maxFlowSteps, graphs: make(map[string]*flowGraph)}
	return f.report()
}

// flowing makes the graphs that a report needs, each once.
type flowing struct {
	app    *App
	steps  int
	graphs map[string]*flowGraph
	found  map[string]*reached // by graph, of the source that is looked at
}

// graph is the one in which only the privileges are used that used tells.
func (f *flowing) graph(name string, used func(string) bool) (*flowGraph, error) {
	if g := f.graphs[name]; g != nil {
		return g, g.err
	}
	g, err := newFlowGraph(f.app, &f.steps, func(owner string) bool { return !used(owner) }, func(string) bool { return false }, name == "kept")
	f.graphs[name] = g
	return g, err
}

func (f *flowing) report() (*FlowReport, error) {
	everybody, err := f.graph("all", func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	kept, err := f.graph("kept", func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	report := &FlowReport{Sources: []FlowSource{}, Notes: kept.notes()}
	for _, p := range everybody.sources() {
		source := FlowSource{Name: p.display(), Kind: string(p.kind), Label: everybody.labelOf(p)}
		if source.Sinks, err = f.sinks(p, everybody); err != nil {
			return nil, err
		}
		report.Sources = append(report.Sources, source)
	}
	return report, nil
}

// sources are where labelled data comes from, and what is outside. Of two principals
// that are not named one is enough.
func (g *flowGraph) sources() (all []place) {
	for _, kind := range []placeKind{atService, atVolume, atShare, atMailbox, atOutside, atPeople} {
		for _, n := range g.order {
			p := n.place
			if p.kind != kind || p.principal == somebodyElse {
				continue
			}
			if p.via = ""; slices.Contains(all, p) {
				continue
			}
			if kind == atOutside || kind == atPeople || g.labelOf(p) != label.Public.String() {
				all = append(all, p)
			}
		}
	}
	return all
}

// labelOf is the label of a place, for people.
func (g *flowGraph) labelOf(p place) string {
	switch p.kind {
	case atService:
		return g.as(g.app.Service(p.name).Label, p.principal).String()
	case atOutside, atPeople:
		return ""
	}
	return g.nodes[p].label.String()
}

// at is the nodes of a place, by whomever they were called.
func (g *flowGraph) at(p place) (all []start) {
	for _, n := range g.order {
		q := n.place
		if q.via = ""; q == p {
			l := n.label
			if n.kind == atService {
				l = n.state.Label
			}
			all = append(all, start{n, l})
		}
	}
	return all
}

// sinks is what becomes of data of p at all that keeps data or gives it away.
func (f *flowing) sinks(p place, everybody *flowGraph) ([]FlowSink, error) {
	f.found = make(map[string]*reached)
	free, err := f.graph("none", func(string) bool { return false })
	if err != nil {
		return nil, err
	}
	kept, err := f.graph("kept", func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	byKept := kept.reach(kept.at(p), nil)
	byAll, byNone := everybody.reach(everybody.at(p), nil), free.reach(free.at(p), nil)
	sinks := []FlowSink{}
	for _, kind := range []placeKind{atOutside, atPeople, atMailbox, atVolume, atShare} {
		for _, n := range everybody.order {
			if n.kind != kind || n.place == p {
				continue
			}
			sink := FlowSink{Name: n.display(), Kind: string(kind), Verdict: CannotReach}
			if s := byNone.first[free.nodes[n.place]]; s != nil {
				sink.Verdict, sink.Path = Reaches, s.path()
			} else if s := byAll.first[n]; s != nil {
				sink.Verdict, sink.Path, sink.Given = OnlyThrough, s.path(), true
				if k := byKept.first[kept.nodes[n.place]]; k != nil {
					sink.Path, sink.Given = k.path(), false
				}
				if sink.Through, sink.Any, err = f.through(p, n.place, s); err != nil {
					return nil, err
				}
			}
			sinks = append(sinks, sink)
		}
	}
	for _, g := range []*flowGraph{everybody, free, kept} {
		if g.err != nil {
			return nil, g.err
		}
	}
	return sinks, nil
}

// through is whose privileges it takes to get from one place to another, where it does
// take some: each of them, or else any.
func (f *flowing) through(from, to place, found *flowState) (names []string, anyOne bool, err error) {
	reaches := func(name string, used func(string) bool) bool {
		var g *flowGraph
		if g, err = f.graph(name, used); err != nil {
			return false
		}
		r := f.found[name]
		if r == nil {
			r = g.reach(g.at(from), nil)
			f.found[name], err = r, g.err
		}
		target := g.nodes[to]
		return target != nil && r.at(target)
	}
	owners := f.owners()
	for _, x := range owners {
		if !reaches("without "+x, func(owner string) bool { return owner != x }) {
			names = append(names, x)
		}
		if err != nil {
			return nil, false, err
		}
	}
	if len(names) > 0 {
		return names, false, nil
	}
	for _, x := range owners {
		if reaches("only "+x, func(owner string) bool { return owner == x }) {
			names = append(names, x)
		}
		if err != nil {
			return nil, false, err
		}
	}
	if len(names) > 0 {
		return names, true, nil
	}
	for s := found; s != nil; s = s.before { // several together, in more ways than one
		for _, p := range s.by {
			if !slices.Contains(names, p.by) {
				names = append(names, p.by)
			}
		}
	}
	slices.Sort(names)
	return names, true, nil
}

// owners are all that have privileges.
func (f *flowing) owners() (all []string) {
	for _, s := range f.app.Services {
		if s.Owns.text == label.True {
			continue
		}
		plain := len(s.Provides) == 0
		for _, p := range s.Provides {
			if p.Gate != nil {
				all = append(all, s.Name+"."+p.Call)
			} else {
				plain = true
			}
		}
		if plain {
			all = append(all, s.Name)
		}
	}
	return all
}

// path is how data came here.
func (s *flowState) path() []FlowStep {
	var steps []FlowStep
	for ; s != nil; s = s.before {
		step := FlowStep{At: s.node.display()}
		n := len(steps)
		if n > 0 && steps[n-1].At == step.At {
			step = steps[n-1]
			steps = steps[:n-1]
		}
		if s.before != nil && len(s.by) > 0 && s.before.node == s.node {
			step.use(s)
		}
		steps = append(steps, step)
		if s.before != nil && len(s.by) > 0 && s.before.node != s.node {
			// On the way here: it is who sent it, or who received it, whose privilege it is.
			at := FlowStep{At: s.before.node.display()}
			if s.before.node.kind != atService || s.node.kind == atService && s.by[0].by == s.node.power {
				steps[len(steps)-1].use(s)
				continue
			}
			at.use(s)
			steps = append(steps, at)
		}
	}
	slices.Reverse(steps)
	return steps
}

// use notes that a privilege was used for s.
func (st *FlowStep) use(s *flowState) {
	before := s.before
	releases := !s.at.Secrecy().Implies(before.at.Secrecy()) || !s.sealed.Secrecy().Implies(before.sealed.Secrecy())
	vouches := !before.at.Integrity().Implies(s.at.Integrity())
	does := "lets go"
	switch {
	case releases && vouches, vouches && st.Does == "lets go", releases && st.Does == "vouches":
		does = "lets go and vouches"
	case vouches:
		does = "vouches"
	case !releases: // for what the asking took, or the answering
		does = "uses a privilege"
	}
	if st.Does == "lets go and vouches" {
		does = st.Does
	}
	st.Does = does
	for _, p := range s.by {
		if !slices.Contains(st.By, p.by) {
			st.By = append(st.By, p.by)
		}
	}
}

// display is the name of a place for people.
func (p place) display() string {
	name := p.name
	switch {
	case p.kind == atMade:
		name = "a mailbox of " + name
	case p.kind == atPeople && p.principal != nobody:
		return name + " as " + p.principal
	case p.kind == atVolume && p.principal == somebody:
		return name
	}
	if p.principal != nobody {
		name += " of " + p.principal
	}
	return name
}

// notes are the grants that can never be used, whatever its holder does with what is its own.
func (g *flowGraph) notes() (all []string) {
	useless := make(map[string]error)
	var order []string
	for _, n := range g.order {
		for _, l := range n.out {
			if l.rule == "" {
				continue
			}
			if _, seen := useless[l.rule]; !seen {
				order = append(order, l.rule)
				useless[l.rule] = g.never(l)
			} else if useless[l.rule] != nil {
				useless[l.rule] = g.never(l)
			}
		}
	}
	for _, rule := range order {
		if err := useless[rule]; err != nil {
			all = append(all, fmt.Sprintf("%s, and never can: %s", rule, because(err)))
		}
	}
	return all
}

// never is why a link cannot be used at any label that its holder can have; nil if it
// can.
func (g *flowGraph) never(l *link) error {
	n := l.from
	if l.kind == toPeople {
		_, err := g.route(l)
		return err
	}
	if l.kind == toGate {
		s, err := n.may(n.state.Label, g.options(n)[0]).Taint(label.Privileges{}, l.gate.Output)
		if err != nil {
			return err
		}
		return s.Enter(g.all(n).And(n.shows), l.gate.Gate)
	}
	o := g.options(n)[len(g.options(n))-1]
	p, s := o.p, n.may(n.state.Label, o)
	if l.kind == toMeet || l.kind == toLeave {
		s, err := n.may(n.state.Label.DowngradeUnder(p), o).Taint(hearing(p), l.pair.Answer)
		if err != nil {
			return err
		}
		return s.Connect(p, l.pair)
	}
	if l.kind != toPost {
		var err error
		if s, err = s.Taint(p, l.to.label); err != nil {
			return err
		}
	}
	return s.Alloc(p, l.to.label)
}

// checkAsserts refuses what the manifest asserts and does not keep.
func (r *reader) checkAsserts(top value, a *App) {
	steps := maxSteps
	for i, s := range a.Asserts {
		at := r.place(top, s.Pos, fmt.Sprintf("assert[%d]", i))
		found, err := a.violation(s, &steps)
		switch {
		case err != nil:
			r.refuse(at, "", "it cannot be told whether that holds: %v", err)
			return
		case found != nil:
			r.refuse(at, "", "%s does reach %s: %s", s.From, s.To, pathText(found.path()))
		}
	}
}

// violation is data that gets where s says it does not, nil if there is none.
func (a *App) violation(s Assert, steps *int) (*flowState, error) {
	g, err := newFlowGraph(a, steps, func(string) bool { return false }, func(name string) bool { return slices.Contains(s.Except, name) }, false)
	if err != nil {
		return nil, err
	}
	var from []start
	for _, n := range g.order {
		if n.called(s.From) {
			p := n.place
			p.via = ""
			from = append(from, g.at(p)...)
		}
	}
	var found *flowState
	r := g.reach(from, func(n *flowNode) bool { return n.called(s.To) && n.kind != atMade })
	for n, state := range r.first {
		if n.called(s.To) && n.kind != atMade {
			found = state
		}
	}
	return found, g.err
}

// called tells whether an assertion's name is that of p.
func (p place) called(name string) bool {
	switch p.kind {
	case atMade:
		return false
	case atOutside:
		return name == theInternet || name == p.name
	case atPeople:
		return name == thePeople
	}
	return name == p.name
}

func pathText(path []FlowStep) string {
	var words []string
	for _, s := range path {
		word := s.At
		switch {
		case s.Does == "":
		case len(s.By) == 1 && (s.By[0] == s.At || strings.HasPrefix(s.By[0], s.At+".") || strings.HasPrefix(s.At, s.By[0]+" of ")):
			word += " (" + s.Does + ")"
		default:
			word += " (" + s.Does + ", by " + strings.Join(s.By, " and ") + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " → ")
}

// Text writes the report for people.
func (r *FlowReport) Text(w io.Writer) error {
	var b strings.Builder
	for _, s := range r.Sources {
		fmt.Fprintf(&b, "%s %s", s.Kind, s.Name)
		if s.Label != "" {
			fmt.Fprintf(&b, ": %s", s.Label)
		}
		b.WriteByte('\n')
		var cannot []string
		for _, to := range s.Sinks {
			if to.Verdict == CannotReach {
				cannot = append(cannot, to.Name)
			}
		}
		if len(cannot) > 0 {
			fmt.Fprintf(&b, "  cannot reach  %s\n", strings.Join(cannot, ", "))
		}
		for _, to := range s.Sinks {
			switch to.Verdict {
			case Reaches:
				fmt.Fprintf(&b, "  reaches       %s (%s)\n", to.Name, pathText(to.Path))
			case OnlyThrough:
				and := " and "
				if to.Any {
					and = " or "
				}
				given := ""
				if to.Given {
					given = ", if it gives its privilege away"
				}
				fmt.Fprintf(&b, "  only through  %s%s: %s (%s)\n", strings.Join(to.Through, and), given, to.Name, pathText(to.Path))
			}
		}
	}
	if len(r.Notes) > 0 {
		b.WriteString("\nof no use:\n")
		for _, n := range r.Notes {
			b.WriteString("  " + n + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
