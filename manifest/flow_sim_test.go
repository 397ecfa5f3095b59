package manifest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cofferdam/guard"
	"cofferdam/label"
)

// The simulation runs a manifest with programs that do whatever they may, at
// random, and notes whose data arrives where. It shares with the report the
// functions of guard and nothing else: it has instances with a present label,
// messages and handles, where the report has the lowest label that there could be.

// sources of data, by the name of a place.
type data map[string]bool

func (d data) add(more data) {
	for name := range more {
		d[name] = true
	}
}

// thing is what a handle stands for.
type thing struct {
	value *sealedValue
	send  *box // a mailbox to send to
	own   *box // a mailbox to receive from
	priv  label.Formula
	by    string // whose the privilege is
}

type sealedValue struct {
	label label.Label
	data  data
}

type box struct {
	label  label.Label
	owner  *actor // nil if shared
	data   data
	things []thing
}

// actor is an instance.
type actor struct {
	svc       *Service
	principal string
	state     guard.State
	name      string // as the report displays it
	power     string
	owns      label.Formula
	data      data
	things    []thing
	rw, ro    []string // volumes
	depth     int
}

type world struct {
	r      *rand.Rand
	a      *App
	used   func(owner string) bool
	labels []label.Label

	shared  map[string]*actor // by name and principal, and label
	boxes   map[string]*box
	volumes map[string]*sealedValue // and shares
	arrived map[string]data         // by the name of a sink
	grants  map[string][]Grant
}

func newWorld(r *rand.Rand, a *App, labels []label.Label, used func(string) bool) *world {
	w := &world{r: r, a: a, used: used, labels: labels,
		shared: make(map[string]*actor), boxes: make(map[string]*box), volumes: make(map[string]*sealedValue),
		arrived: make(map[string]data), grants: make(map[string][]Grant)}
	for _, g := range a.Grants() {
		w.grants[g.From] = append(w.grants[g.From], g)
	}
	for _, m := range a.Mailboxes {
		w.boxes[m.Name] = &box{label: m.Label, data: data{m.Name: true}}
	}
	return w
}

func (w *world) arrive(sink string, d data) {
	if w.arrived[sink] == nil {
		w.arrived[sink] = make(data)
	}
	w.arrived[sink].add(d)
}

func (w *world) chance(n int) bool { return w.r.IntN(n) == 0 }

func pick[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

func for_(l Label, principal string) label.Label {
	if principal == somebody || principal == nobody {
		return l.text
	}
	out, err := l.For(principal)
	if err != nil {
		panic(err)
	}
	return out
}

// start starts an instance in that state.
func (w *world) start(s *Service, principal, gate string, st guard.State, depth int) *actor {
	e := &actor{svc: s, principal: principal, state: st, power: s.Name, depth: depth}
	if gate != "" {
		e.power = s.Name + "." + gate
	}
	e.name = place{kind: atService, name: s.Name, principal: principal}.display()
	if w.used(e.power) {
		e.owns = for_(Label{text: label.New(s.Owns.text, label.True), open: s.Owns.open}, principal).Secrecy()
	}
	e.data = data{e.name: true}
	for _, v := range s.Volumes {
		name := volumeName(v, principal)
		l := for_(v.Label, principal)
		if w.volumes[name] == nil {
			w.volumes[name] = &sealedValue{l, data{name: true}}
		}
		if st.Mount(l, !v.ReadOnly) == nil {
			if v.ReadOnly {
				e.ro = append(e.ro, name)
			} else {
				e.rw = append(e.rw, name)
			}
		}
	}
	return e
}

func volumeName(v Volume, principal string) string {
	if !strings.Contains(v.Name, principalMark) {
		principal = nobody
	}
	return place{kind: atVolume, name: v.Name, principal: principal}.display()
}

// instance is the running instance of a service, started when it is first needed.
func (w *world) instance(s *Service, principal string, at *label.Label) *actor {
	st := guard.State{Label: for_(s.Label, principal), Clearance: for_(s.Clearance, principal)}
	key := s.Name + " " + principal
	if at != nil {
		key += " " + at.String()
		clearance, err := st.Clearance.Join(*at)
		if err != nil {
			return nil
		}
		st = guard.State{Label: *at, Clearance: clearance}
	}
	if e := w.shared[key]; e != nil {
		return e
	}
	e := w.start(s, principal, "", st, 0)
	w.shared[key] = e
	return e
}

// privileges is a choice of what e owns, and of what was given to it.
func (w *world) privileges(e *actor) label.Privileges {
	f := label.True
	if w.chance(2) {
		f = f.And(e.owns)
	}
	for _, h := range e.things {
		if h.priv != label.True && w.chance(2) {
			f = f.And(h.priv)
		}
	}
	p := label.Privileges{}
	if w.chance(2) {
		p.Out = f
	}
	if w.chance(2) {
		p.In = f
	}
	return p
}

func (w *world) label(e *actor) label.Label {
	l := pick(w.r, w.labels)
	if w.chance(3) {
		if j, err := l.Join(e.state.Label); err == nil {
			l = j
		}
	}
	return l
}

// may tells whether the volumes of e let its state change.
func (w *world) may(e *actor, to guard.State) bool {
	for _, name := range e.rw {
		if v := w.volumes[name].label; to.Mount(v, true) != nil {
			return false
		}
	}
	for _, name := range e.ro {
		if to.Mount(w.volumes[name].label, false) != nil {
			return false
		}
	}
	return true
}

func (w *world) become(e *actor, to guard.State, err error) {
	if err == nil && w.may(e, to) {
		e.state = to
	}
}

// hand gives some of what from has to another.
func (w *world) hand(from, to *actor) {
	for _, h := range from.things {
		if w.chance(2) && len(to.things) < 64 {
			to.things = append(to.things, h)
		}
	}
	if from.owns != label.True && w.chance(3) && len(to.things) < 64 {
		to.things = append(to.things, thing{priv: from.owns, by: from.power})
	}
}

// act lets e do one thing.
func (w *world) act(e *actor) {
	p := w.privileges(e)
	switch w.r.IntN(12) {
	case 0:
		to, err := e.state.Raise(w.label(e))
		w.become(e, to, err)
	case 1:
		to, err := e.state.Lower(p, w.label(e))
		w.become(e, to, err)
	case 2:
		to, err := e.state.SetClearance(p, w.label(e))
		w.become(e, to, err)
	case 3:
		l := w.label(e)
		if e.state.Alloc(p, l) == nil {
			d := make(data)
			d.add(e.data)
			e.things = append(e.things, thing{value: &sealedValue{l, d}})
		}
	case 4:
		l := w.label(e)
		if e.state.Alloc(p, l) == nil {
			b := &box{label: l, owner: e, data: make(data)}
			e.things = append(e.things, thing{send: b}, thing{own: b})
		}
	case 5, 6:
		if len(e.things) > 0 {
			w.use(e, pick(w.r, e.things), p)
		}
	case 7:
		for _, name := range append(slices.Clone(e.rw), e.ro...) {
			e.data.add(w.volumes[name].data)
		}
		for _, name := range e.rw {
			w.volumes[name].data.add(e.data)
			w.arrive(name, e.data)
		}
	case 8:
		for _, m := range w.a.Mailboxes {
			if b := w.boxes[m.Name]; m.Owner == e.svc.Name && e.state.Read(p, b.label) == nil {
				w.receive(e, b)
			}
		}
	default:
		if all := w.grants[e.svc.Name]; len(all) > 0 {
			w.grant(e, pick(w.r, all), p)
		}
	}
}

func (w *world) receive(e *actor, b *box) {
	e.data.add(b.data)
	for _, h := range b.things {
		if w.chance(2) && len(e.things) < 64 {
			e.things = append(e.things, h)
		}
	}
}

func (w *world) send(e *actor, b *box) {
	b.data.add(e.data)
	to := &actor{}
	w.hand(e, to)
	if len(b.things) < 64 {
		b.things = append(b.things, to.things...)
	}
}

func (w *world) use(e *actor, h thing, p label.Privileges) {
	switch {
	case h.value != nil && w.chance(3):
		if l := w.label(e); e.state.Relabel(p, h.value.label, l) == nil {
			e.things = append(e.things, thing{value: &sealedValue{l, h.value.data}})
		}
	case h.value != nil:
		if e.state.Read(p, h.value.label) == nil {
			e.data.add(h.value.data)
		}
	case h.send != nil:
		if e.state.Alloc(p, h.send.label) == nil {
			w.send(e, h.send)
		}
	case h.own != nil:
		if e.state.Read(p, h.own.label) == nil {
			w.receive(e, h.own)
		}
	}
}

// grant uses a line of the manifest.
func (w *world) grant(e *actor, g Grant, p label.Privileges) {
	switch g.Kind {
	case "post", "put", "take":
		b := w.boxes[g.To]
		if g.Kind == "post" && e.state.Alloc(p, b.label) == nil || g.Kind == "put" && e.state.Write(p, b.label) == nil {
			w.send(e, b)
			w.arrive(g.To, e.data)
		}
		if g.Kind == "take" && e.state.Write(p, b.label) == nil {
			w.receive(e, b)
		}
	case "share":
		if g.To != g.From {
			share, s := w.a.Share(g.Name), w.a.Service(g.To)
			principal := pick(w.r, append(w.a.flowPrincipals(), nobody))
			to := w.shared[s.Name+" "+principal]
			if to == nil || e.state.Read(label.Privileges{}, share.Label) != nil || e.state.Tell(for_(s.Label, principal)) != nil || !to.state.Label.FlowsTo(e.state.Label) {
				return
			}
			to.data.add(e.data)
			e.data.add(to.data)
			return
		}
		if share := w.a.Share(g.Name); e.state.Mount(share.Label, false) == nil {
			v := w.volumes["share "+g.Name]
			if v == nil {
				v = &sealedValue{share.Label, data{g.Name: true}}
				w.volumes["share "+g.Name] = v
			}
			e.data.add(v.data)
			if share.Writable && e.state.Mount(share.Label, true) == nil {
				v.data.add(e.data)
				w.arrive(g.Name, e.data)
			}
		}
	case "egress":
		pair := guard.Endpoint{Request: for_(g.Request, e.principal), Answer: for_(g.Answer, e.principal)}
		if e.state.Connect(p, pair) == nil {
			w.arrive(g.Object(), e.data)
			e.data[g.Object()] = true
		}
	case "spawn":
		w.spawn(e, w.a.Service(g.To), p)
	case "call", "http", "tcp":
		s := w.a.Service(g.To)
		if m := s.provide(g.Name); g.Kind == "call" && m.Gate != nil {
			w.gate(e, s, m, p)
			return
		}
		principal := nobody
		if s.perPrincipal() {
			principal = e.principal
		}
		if s.ofCaller() {
			own := for_(s.Label, nobody)
			at, err := own.Join(e.state.Label)
			if err != nil || e.state.Connect(p, guard.Endpoint{Request: at, Answer: at}) != nil {
				return
			}
			to := w.instance(s, nobody, &at)
			if s.Instances == perCall {
				clearance, err := for_(s.Clearance, nobody).Join(at)
				if err != nil || e.depth > 2 {
					return
				}
				to = w.start(s, nobody, "", guard.State{Label: at, Clearance: clearance}, e.depth+1)
			}
			if to == nil {
				return
			}
			to.data.add(e.data)
			if s.Stdio == "" {
				w.hand(e, to)
			}
			w.run(to, 6)
			if to.state.Serve(w.privileges(to), guard.Endpoint{Request: at, Answer: at}) == nil {
				e.data.add(to.data)
				if s.Stdio == "" {
					w.hand(to, e)
				}
			}
			return
		}
		pair := endpointOf(s, g, principal)
		to := w.instance(s, principal, nil)
		if e.state.Connect(p, pair) != nil || to.state.Serve(w.privileges(to), pair) != nil {
			return
		}
		to.data.add(e.data)
		w.hand(e, to)
		e.data.add(to.data)
		w.hand(to, e)
	}
}

func endpointOf(s *Service, g Grant, principal string) guard.Endpoint {
	pair := s.PortLabels[0]
	if m := s.provide(g.Name); m != nil {
		pair = m.Endpoint
	} else {
		n, _ := strconv.Atoi(g.Name)
		pair = s.PortLabels[n]
	}
	return guard.Endpoint{Request: for_(pair.Request, principal), Answer: for_(pair.Answer, principal)}
}

func (w *world) run(e *actor, steps int) {
	for range w.r.IntN(steps + 1) {
		w.act(e)
	}
}

func (w *world) spawn(e *actor, t *Service, p label.Privileges) {
	if e.depth > 2 {
		return
	}
	child := guard.State{Label: w.label(e), Clearance: w.label(e)}
	if w.chance(2) {
		child = e.state
	}
	result := w.label(e)
	if e.state.Spawn(p, child, result) != nil {
		return
	}
	principal := pick(w.r, w.a.flowPrincipals())
	c := w.start(t, principal, "", child, e.depth+1)
	c.data.add(e.data)
	w.hand(e, c)
	w.run(c, 12)
	if c.state.Label.FlowsTo(result) {
		d := make(data)
		d.add(c.data)
		e.things = append(e.things, thing{value: &sealedValue{result, d}})
	}
}

func (w *world) gate(e *actor, s *Service, m *Provide, p label.Privileges) {
	shown := for_(Label{text: label.New(e.svc.Owns.text, label.True), open: e.svc.Owns.open}, e.principal).Secrecy()
	if e.depth > 2 || e.state.Enter(shown, m.Gate.Gate) != nil {
		return
	}
	inside, err := guard.State{Label: for_(s.Label, nobody), Clearance: for_(s.Clearance, nobody)}.Inside(e.state.Label)
	if err != nil {
		return
	}
	in := w.start(s, nobody, m.Call, inside, e.depth+1)
	in.data.add(e.data)
	w.run(in, 6)
	if in.state.Release(in.owns, m.Gate.Output) == nil {
		e.data.add(in.data)
	}
}

// visit is a person who uses a route.
func (w *world) visit(route Route) {
	s := w.a.Service(route.To)
	all := []string{nobody}
	if w.a.Gateway.Authenticate != nil {
		all = append(all, w.a.flowPrincipals()...)
	}
	principal := pick(w.r, all)
	open := route.Request.open != nil || route.Answer.open != nil
	if principal == nobody && (s.perPrincipal() || open && !route.Lenient) {
		return
	}
	person := place{kind: atPeople, name: thePeople, principal: principal}.display()
	pair := guard.Endpoint{}
	if principal != nobody || !route.Lenient {
		pair = guard.Endpoint{Request: for_(route.Request, principal), Answer: for_(route.Answer, principal)}
	}
	at := nobody
	if s.perPrincipal() {
		at = principal
	}
	var to *actor
	e := guard.Endpoint{Request: for_(s.PortLabels[s.HTTP].Request, at), Answer: for_(s.PortLabels[s.HTTP].Answer, at)}
	if s.ofCaller() {
		l, err := for_(s.Label, nobody).Join(pair.Request)
		if err != nil {
			return
		}
		e = guard.Endpoint{Request: l, Answer: l}
		to = w.instance(s, nobody, &l)
	} else {
		to = w.instance(s, at, nil)
	}
	if guard.Carry(pair, e) != nil || to.state.Serve(w.privileges(to), e) != nil {
		return
	}
	to.data[person] = true
	w.arrive(person, to.data)
}

// simulate runs all of it for a while.
func (w *world) simulate(steps int) {
	for _, s := range w.a.Services {
		if s.Template || s.ofCaller() {
			continue
		}
		principals := []string{nobody}
		if s.perPrincipal() {
			principals = w.a.flowPrincipals()
		}
		for _, p := range principals {
			w.instance(s, p, nil)
		}
	}
	for range steps {
		if w.a.Gateway != nil && w.chance(8) {
			w.visit(pick(w.r, w.a.Gateway.Routes))
			continue
		}
		keys := make([]string, 0, len(w.shared))
		for k := range w.shared {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if len(keys) == 0 {
			return
		}
		slices.Sort(keys)
		k := pick(w.r, keys)
		if w.chance(40) && !w.shared[k].svc.ofCaller() {
			e := w.shared[k] // it restarts
			w.shared[k] = w.start(e.svc, e.principal, "", guard.State{Label: for_(e.svc.Label, e.principal), Clearance: for_(e.svc.Clearance, e.principal)}, 0)
			continue
		}
		w.act(w.shared[k])
	}
}

// randomManifest is the text of a manifest that may be refused, and labels that are worth
// trying.
func randomManifest(r *rand.Rand) (string, []label.Label) {
	names := []string{"a", "b"}
	formula := func(more ...string) string {
		return pick(r, append([]string{"True", "True", "True", "a", "b", "a", "a & b", "a | b"}, more...))
	}
	labelText := func(more ...string) string { return formula(more...) + " %% " + formula(more...) }
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nprincipals: [%s]\n", strings.Join(names, ", "))
	n := 2 + r.IntN(4)
	kinds := make([]string, n)
	for i := range kinds {
		kinds[i] = pick(r, []string{"shared", "shared", "shared", "shared", "per-principal", "per-label", "per-call", "gate", "template"})
	}
	var authenticate, routes []string
	var boxes []string
	for i := range 2 {
		owner := ""
		if j := r.IntN(n); r.IntN(3) > 0 && kinds[j] == "shared" {
			owner = fmt.Sprintf(", owner: s%d", j)
		}
		boxes = append(boxes, fmt.Sprintf("{name: m%d, label: '%s'%s}", i, labelText(), owner))
	}
	fmt.Fprintf(&b, "mailboxes: [%s]\n", strings.Join(boxes, ", "))
	fmt.Fprintf(&b, "shares: [{name: d0, from: a, label: '%s'}, {name: d1, from: b, writable: true, label: '%s'}]\nservices:\n", labelText(), labelText())
	for i, kind := range kinds {
		var more []string
		if kind == "per-principal" || kind == "template" {
			more = []string{"'", "{principal}", "{principal}", "{principal} & a", "{principal} | b"}[1:]
		}
		fmt.Fprintf(&b, "  s%d:\n    runtime: host\n    command: [/bin/true]\n", i)
		own := labelText(more...)
		if r.IntN(2) == 0 {
			own = "True %% True"
		}
		fmt.Fprintf(&b, "    label: '%s'\n", own)
		if r.IntN(3) > 0 {
			fmt.Fprintf(&b, "    clearance: '%s'\n", pick(r, []string{"a & b %% True", "a %% True", own, "False %% True", labelText(more...)}))
		}
		if r.IntN(3) == 0 || kind == "gate" {
			fmt.Fprintf(&b, "    owns: '%s'\n", pick(r, append([]string{"a", "b", "a & b"}, more...)))
		}
		endpoint := ""
		if r.IntN(3) == 0 {
			endpoint = fmt.Sprintf(", request: '%s'", labelText(more...))
		}
		if r.IntN(3) == 0 {
			endpoint += fmt.Sprintf(", answer: '%s'", labelText(more...))
		}
		switch kind {
		case "shared":
			fmt.Fprintf(&b, "    provides: [{call: m%s}]\n    http: 80\n", endpoint)
			routes = append(routes, fmt.Sprintf("{path: /%d, to: s%d}", i, i))
			if endpoint == "" && own == "True %% True" {
				authenticate = append(authenticate, fmt.Sprintf("s%d.m", i))
			}
		case "per-principal":
			fmt.Fprintf(&b, "    instances: per-principal\n    provides: [{call: m%s}]\n    http: 80\n", endpoint)
			routes = append(routes, fmt.Sprintf("{path: /%d, to: s%d}", i, i))
		case "per-label":
			fmt.Fprintf(&b, "    instances: per-label\n    provides: [{call: m}]\n    http: 80\n")
			routes = append(routes, fmt.Sprintf("{path: /%d, to: s%d}", i, i))
		case "per-call":
			fmt.Fprintf(&b, "    stdio: lines\n    provides: [{call: m}]\n")
		case "gate":
			fmt.Fprintf(&b, "    stdio: lines\n    provides: [{call: m, gate: {shows: '%s', integrity: '%s', input: '%s', output: '%s'}}]\n", pick(r, []string{"True", "True", "a"}), pick(r, []string{"True", "True", "a"}), labelText(), labelText())
		case "template":
			fmt.Fprintf(&b, "    template: true\n")
		}
		switch {
		case kind == "shared" && r.IntN(2) == 0:
			fmt.Fprintf(&b, "    volumes: [{name: v%d, to: /v}]\n", i)
		case (kind == "per-principal" || kind == "template") && r.IntN(2) == 0:
			fmt.Fprintf(&b, "    volumes: [{name: 'v%d-{principal}', to: /v}]\n", i)
		case r.IntN(3) == 0:
			fmt.Fprintf(&b, "    volumes: [{name: v%d, to: /v, read_only: true, label: '%s'}]\n", i, labelText(more...))
		}
		var uses []string
		for j := range n {
			if r.IntN(2) == 0 {
				continue
			}
			switch kinds[j] {
			case "template":
				uses = append(uses, fmt.Sprintf("{spawn: s%d}", j))
			case "per-principal":
				if kind == "per-principal" || kind == "template" {
					uses = append(uses, fmt.Sprintf("{call: s%d.m}", j))
				}
			default:
				uses = append(uses, fmt.Sprintf("{call: s%d.m}", j))
			}
		}
		for j, box := range boxes {
			words := []string{"post"}
			if !strings.Contains(box, "owner") {
				words = []string{"post", "put", "take"}
			}
			if r.IntN(2) == 0 {
				uses = append(uses, fmt.Sprintf("{%s: m%d}", pick(r, words), j))
			}
		}
		if r.IntN(4) == 0 {
			uses = append(uses, fmt.Sprintf("{share: d%d, into: self}", r.IntN(2)))
		}
		if j := r.IntN(n); r.IntN(4) == 0 && j != i && (kinds[j] == "shared" || kinds[j] == "per-principal") {
			uses = append(uses, fmt.Sprintf("{share: d%d, into: s%d}", r.IntN(2), j))
		}
		if r.IntN(3) == 0 {
			uses = append(uses, fmt.Sprintf("{egress: 'h%d.example.com:80', request: '%s', answer: '%s'}", i, labelText(more...), labelText(more...)))
		}
		if len(uses) > 0 {
			fmt.Fprintf(&b, "    uses: [%s]\n", strings.Join(uses, ", "))
		}
	}
	if len(routes) > 0 {
		who := ""
		if len(authenticate) > 0 {
			who = ", authenticate: " + authenticate[0]
		}
		fmt.Fprintf(&b, "gateway: {listen: '127.0.0.1:0', routes: [%s]%s}\n", strings.Join(routes, ", "), who)
	}
	var labels []label.Label
	halves := []string{"True", "a", "b", "a & b", "a | b", `"{principal}"`, `"another {principal}"`, `"{principal}" & a`, "False"}
	for _, s := range halves {
		for _, i := range halves {
			labels = append(labels, label.MustParse(s+" %% "+i))
		}
	}
	return b.String(), labels
}

// TestFlowAgainstSimulation: wherever data arrives, the report says that it can, and
// through whom. COFFERDAM_TEST_FLOWS is how many manifests, COFFERDAM_TEST_SEED the first.
func TestFlowAgainstSimulation(t *testing.T) {
	manifests, seed := setting(t, "COFFERDAM_TEST_FLOWS", 100), setting(t, "COFFERDAM_TEST_SEED", 1)
	claimed, arrived := 0, 0
	for i := 0; manifests > 0; i++ {
		r := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
		text, labels := randomManifest(r)
		a, err := parse("m.yaml", text)
		if err != nil {
			continue
		}
		manifests--
		f := flowing{app: a, steps: maxFlowSteps, graphs: make(map[string]*flowGraph)}
		report, err := f.report()
		if err != nil {
			t.Fatalf("Flow: %v\n%s", err, text)
		}
		said := make(map[[2]string]FlowSink)
		for _, s := range report.Sources {
			for _, to := range s.Sinks {
				said[[2]string{s.Name, to.Name}] = to
				if to.Verdict != CannotReach {
					claimed++
				}
			}
		}
		seen := make(map[[2]string]bool)
		check := func(what string, used func(string) bool, allowed func(FlowSink) bool) {
			w := newWorld(r, a, labels, used)
			w.simulate(600)
			for sink, from := range w.arrived {
				for name := range from {
					way := [2]string{name, sink}
					to, known := said[way]
					if !known {
						continue
					}
					seen[way] = true
					if !allowed(to) {
						t.Errorf("seed %d, manifest %d, with %s: data of %s arrived at %s, and the report says %s %v\n%s", seed, i, what, name, sink, to.Verdict, to.Through, text)
					}
				}
			}
		}
		check("all privileges", func(string) bool { return true }, func(to FlowSink) bool { return to.Verdict != CannotReach })
		check("no privileges", func(string) bool { return false }, func(to FlowSink) bool { return to.Verdict == Reaches })
		for _, x := range f.owners() {
			check("all but those of "+x, func(owner string) bool { return owner != x }, func(to FlowSink) bool {
				return to.Verdict != CannotReach && (to.Any || !slices.Contains(to.Through, x))
			})
		}
		arrived += len(seen)
		if t.Failed() {
			return
		}
	}
	if arrived < claimed/4 {
		t.Errorf("of %d flows that the report tells of, the runs show %d: one of them is not worth much", claimed, arrived)
	}
	t.Logf("the report tells of %d flows; the runs show %d of them, and no others", claimed, arrived)
}

func setting(t *testing.T, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
