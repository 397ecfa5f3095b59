package manifest

import (
	"slices"
	"strings"
	"testing"
)

const liveText = `version: 1
name: live
principals: [alice]
services:
  shop:
    runtime: host
    command: [/bin/true]
  bank:
    runtime: host
    command: [/bin/true]
    tcp: 9000
    provides:
      - {call: balance}
      - {call: close, from: [audit]}
  audit:
    runtime: host
    command: [/bin/true]
    uses: [{call: bank.balance}]
  vault:
    runtime: host
    command: [/bin/true]
    label: 'alice %% True'
    http: 8081
    provides: [{call: open}]
  page:
    runtime: host
    command: [/bin/true]
    instances: per-principal
    provides: [{call: view}]
  job:
    runtime: host
    command: [/bin/true]
    template: true
mailboxes:
  - {name: letters}
  - {name: mine, owner: bank}
shares: [{name: docs, from: /srv/docs}]
assert: ['vault -/-> internet', 'shop -/-> internet']
`

func live(t *testing.T) *App {
	t.Helper()
	a, err := Parse("m.yaml", []byte(liveText), "/x", func(p string) (string, error) { return p, nil })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What is given while an application runs means what its line would mean, and is
// refused where that line would be.
func TestWithGrants(t *testing.T) {
	for _, tt := range []struct {
		live Live
		want string // the grant, or "!" and what the refusal says
	}{
		{Live{1, "shop", "call", "bank.balance", "", false}, "call bank.balance"},
		{Live{2, "shop", "call", "bank.close", "", false}, "call bank.close"}, // past a list of callers
		{Live{1, "shop", "connect", "bank:9000", "", false}, "tcp bank:9000"},
		{Live{1, "shop", "connect", "bank", "", false}, "tcp bank:9000"},
		{Live{1, "shop", "connect", "vault", "", false}, "http vault:8081"},
		{Live{1, "shop", "spawn", "job", "", false}, "spawn job"},
		{Live{1, "shop", "share", "docs", "", false}, "share docs"},
		{Live{1, "shop", "share", "docs", "bank", false}, "share bank:docs"},
		{Live{1, "audit", "egress", "example.com:443", "", false}, "egress example.com:443"},
		{Live{1, "audit", "egress", "10.0.0.1:443", "", true}, "egress 10.0.0.1:443"},
		{Live{1, "shop", "post", "mine", "", false}, "post mine"},
		{Live{1, "shop", "put", "letters", "", false}, "put letters"},
		{Live{1, "shop", "take", "letters", "", false}, "take letters"},

		{Live{1, "shop", "call", "bank.absent", "", false}, `!does not provide`},
		{Live{1, "shop", "call", "bnak.balance", "", false}, `!no service "bnak"`},
		{Live{1, "sohp", "call", "bank.balance", "", false}, `!no service "sohp"`},
		{Live{1, "shop", "call", "bank", "", false}, `!grant 1 services.shop.uses[0].call`},
		{Live{1, "audit", "call", "bank.balance", "", false}, `!stands at`},
		{Live{1, "shop", "connect", "bank:1", "", false}, `!does not declare port 1`},
		{Live{1, "shop", "spawn", "bank", "", false}, `!is not a template`},
		{Live{1, "shop", "share", "docs", "nobody", false}, `!"nobody"`},
		{Live{1, "shop", "share", "dosc", "", false}, `!dosc`},
		{Live{1, "audit", "egress", "*.example.com:443", "", false}, `!a pattern`},
		{Live{1, "audit", "egress", "10.0.0.1:443", "", false}, `!private: true`},
		{Live{1, "shop", "call", "bank.balance", "", true}, `!private goes with egress only`},
		{Live{1, "shop", "call", "bank.balance", "bank", false}, `!into goes with share only`},
		{Live{1, "shop", "put", "mine", "", false}, `!has an owner`},
		{Live{1, "shop", "call", "page.view", "", false}, `!runs for nobody`},
		{Live{1, "shop", "egress", "example.com:443", "", false}, `!shop does reach internet`}, // an assertion
		{Live{1, "shop", "steal", "bank.balance", "", false}, `!unknown key`},
		{Live{1, "shop}, evil: {", "call", "bank.balance", "", false}, `!no service`},
		{Live{1, "shop", "call", "bank.balance}, {spawn: job", "", false}, `!is not`},
	} {
		t.Run(tt.live.Service+" "+tt.live.Kind+" "+tt.live.Object+" "+tt.live.Into, func(t *testing.T) {
			a := live(t)
			with, err := a.With([]Live{tt.live}, nil)
			if no, refused := strings.CutPrefix(tt.want, "!"); refused {
				if err == nil || !strings.Contains(err.Error(), no) {
					t.Errorf("With = %v, want %q", err, no)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var more []string
			for _, g := range with.Grants() {
				if !slices.ContainsFunc(a.Grants(), func(o Grant) bool { return o == g }) {
					more = append(more, g.From+" "+g.Kind+" "+g.Object()+" "+g.Rule)
				}
			}
			rule := "grant 1"
			if tt.live.Number == 2 {
				rule = "grant 2"
			}
			if want := tt.live.Service + " " + tt.want + " " + rule; len(more) != 1 || more[0] != want {
				t.Errorf("With gives %q more, want %q", more, want)
			}
			// The line that stands for it says the same.
			at := with.Service(tt.live.Service).Pos.Line
			if tt.live.Object == "bank.close" {
				return // which takes two lines
			}
			lines := strings.Split(liveText, "\n")
			text := strings.Join(slices.Insert(lines, at, "    uses: ["+strings.TrimPrefix(tt.live.Line(), "- ")+"]"), "\n")
			if tt.live.Service == "audit" {
				text = strings.Replace(liveText, "uses: [{call: bank.balance}]", "uses: [{call: bank.balance}, "+strings.TrimPrefix(tt.live.Line(), "- ")+"]", 1)
			}
			written, err := Parse("m.yaml", []byte(text), "/x", func(p string) (string, error) { return p, nil })
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if got, want := string(written.Resolved()), string(with.Resolved()); got != want {
				t.Errorf("the line makes\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// A grant that is taken back is no grant, for the report of flows too; and the manifest can
// be without it and with others.
func TestWithoutGrants(t *testing.T) {
	a := live(t)
	g, ok := a.Granted("audit", "call", "bank.balance", "")
	if !ok {
		t.Fatal("audit may not call bank.balance")
	}
	without, err := a.With([]Live{{1, "shop", "call", "bank.balance", "", false}}, []Grant{g})
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, g := range without.Grants() {
		left = append(left, g.From+" "+g.Object())
	}
	if want := []string{"audit bank.close", "shop bank.balance"}; !slices.Equal(left, want) {
		t.Errorf("grants %q, want %q", left, want)
	}
	if _, ok := without.Granted("audit", "call", "bank.balance", ""); !ok || !without.Revoked(g) {
		t.Error("what is revoked is not known any more")
	}
	if _, ok := a.Granted("shop", "call", "bank.balance", ""); ok {
		t.Error("a grant of nobody's")
	}
}
