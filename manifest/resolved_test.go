package manifest

import (
	"bytes"
	"io"
	"maps"
	"reflect"
	"testing"
	"time"
)

// bare is a with its places in the file forgotten.
func bare(a *App) *App {
	b := *a
	b.File, b.Dir = "", ""
	if a.Gateway != nil {
		g := *a.Gateway
		g.Pos = Pos{}
		g.Routes, g.TCP = bareAll(g.Routes), bareAll(g.TCP)
		if g.Authenticate != nil {
			who := *g.Authenticate
			who.Pos = Pos{}
			g.Authenticate = &who
		}
		b.Gateway = &g
	}
	b.Shares, b.Principals, b.Mailboxes, b.Asserts = bareAll(a.Shares), bareAll(a.Principals), bareAll(a.Mailboxes), bareAll(a.Asserts)
	for i := range b.Mailboxes {
		b.Mailboxes[i].Rate.Pos = Pos{}
	}
	if a.Egress != nil {
		e := *a.Egress
		e.Pos = Pos{}
		b.Egress = &e
	}
	if a.Traces != nil {
		m := *a.Traces
		m.Pos = Pos{}
		b.Traces = &m
	}
	if a.Metrics != nil {
		m := *a.Metrics
		m.Pos = Pos{}
		b.Metrics = &m
	}
	b.Budget.Pos, b.Budget.Principal.Pos, b.source = Pos{}, Pos{}, source{}
	b.names, b.table = nil, nil
	b.Services = nil
	for _, s := range a.Services {
		c := *s
		c.Pos = Pos{}
		c.Files, c.Volumes, c.Tmpfs = bareAll(c.Files), bareAll(c.Volumes), bareAll(c.Tmpfs)
		c.Provides, c.Uses = bareAll(c.Provides), bareAll(c.Uses)
		for i := range c.Provides {
			c.Provides[i].FromPos, c.Provides[i].Rate.Pos = nil, Pos{}
			if g := c.Provides[i].Gate; g != nil {
				g := *g
				g.Pos = Pos{}
				c.Provides[i].Gate = &g
			}
		}
		for i := range c.Uses {
			c.Uses[i].Rate.Pos = Pos{}
		}
		c.PortRates = maps.Clone(c.PortRates)
		for port, r := range c.PortRates {
			r.Pos = Pos{}
			c.PortRates[port] = r
		}
		b.Services = append(b.Services, &c)
	}
	return &b
}

// bareAll is items with the Pos of each zeroed.
func bareAll[T any](items []T) []T {
	out := append([]T(nil), items...)
	for i := range out {
		reflect.ValueOf(&out[i]).Elem().FieldByName("Pos").SetZero()
	}
	return out
}

// checkResolved tells that the resolved forms of a parse as a.
func checkResolved(t testing.TB, a *App) {
	t.Helper()
	for name, form := range map[string][]byte{"YAML": a.Resolved(), "JSON": a.ResolvedJSON()} {
		again, err := Parse("resolved", form, "/elsewhere", func(p string) (string, error) { return p, nil })
		if err != nil {
			t.Errorf("the resolved %s does not parse: %v\n%s", name, err, form)
			continue
		}
		if want, got := bare(a), bare(again); !reflect.DeepEqual(got, want) {
			t.Errorf("the resolved %s parses as something else\ngot  %s\nwant %s", name, again.ResolvedJSON(), a.ResolvedJSON())
		}
		if got := again.Resolved(); !bytes.Equal(got, a.Resolved()) {
			t.Errorf("Resolved of the resolved %s differs\ngot\n%s\nwant\n%s", name, got, a.Resolved())
		}
	}
}

func TestResolvedParsesBack(t *testing.T) {
	for _, f := range corpus(t, "valid").manifests() {
		t.Run(f.name, func(t *testing.T) { checkResolved(t, mustParse(t, f.text)) })
	}
}

// TestResolvedLimitsAreNeverZero: zero would be the executor's default, by luck
// the same. Of inotify it is nothing, which is what is meant.
func TestResolvedLimitsAreNeverZero(t *testing.T) {
	for _, f := range corpus(t, "valid").manifests() {
		for _, s := range mustParse(t, f.text).Services {
			v := reflect.ValueOf(s.Limits)
			for i := range v.NumField() {
				if name := v.Type().Field(i).Name; name != "Inotify" && v.Field(i).IsZero() {
					t.Errorf("%s: service %s: limit %s is zero", f.name, s.Name, v.Type().Field(i).Name)
				}
			}
		}
	}
}

// FuzzParse: whatever the bytes, Parse ends, and what it accepts it can write
// down in a form that means the same.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"valid", "shape", "meaning", "flow"} {
		for _, file := range corpus(f, name).manifests() {
			f.Add([]byte(file.text))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		app, err := Parse("fuzz.yaml", data, "/srv/app", pretend)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Parse took %v for %d bytes", took, len(data))
		}
		if err != nil {
			for _, e := range err.(Errors) {
				if e.Line < 1 || e.Column < 1 || e.Message == "" {
					t.Errorf("an error without a place or a text: %+v", e)
				}
			}
			return
		}
		checkResolved(t, app)
		checkGrants(t, app)
		if report, err := app.Flow(); err == nil {
			report.Text(io.Discard)
		}
	})
}
