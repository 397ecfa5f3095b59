package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a change takes while the application runs: nothing, a replacement, or that it ends.
func TestDiffers(t *testing.T) {
	const text = `version: 1
name: diff
principals: [alice]
gateway: {listen: '127.0.0.1:8888', routes: [{path: '/a', to: web}]}
services:
  web:
    runtime: host
    command: [/bin/true]
    http: 8081
    uses: [{call: bank.balance}]
  bank:
    runtime: host
    command: [/bin/true]
    environment: {A: b}
    provides: [{call: balance}, {call: close, from: [web]}]
mailboxes: [{name: letters}]
budget: {memory: 2G}
`
	for _, tt := range []struct{ name, from, to, want string }{
		{"nothing", "", "", ""},
		{"lines and words", "version: 1\n", "# a remark\n\nversion: 1\n", ""},
		{"what is the default", "    environment: {A: b}\n", "    environment: {A: b}\n    working_dir: /\n", ""},
		{"a grant", "uses: [{call: bank.balance}]", "uses: [{call: bank.balance}, {put: letters}]", "granted web put letters"},
		{"no grant", "    uses: [{call: bank.balance}]\n", "", "revoked web call bank.balance"},
		{"a privilege with it", "{call: bank.balance}]", "{call: bank.balance, rate: 5/min}]", "granted web call bank.balance; revoked web call bank.balance"},
		{"who may call", "from: [web]", "from: []", "revoked web call bank.close; live services.bank.provides"},
		{"another method", "{call: balance}, ", "{call: balance}, {call: more}, ", "replaced bank [provides]"},
		{"the environment", "A: b", "A: c", "replaced bank [environment]"},
		{"labels", "    environment: {A: b}\n", "    environment: {A: b}\n    clearance: 'alice %% True'\n", "replaced bank [clearance]"},
		{"limits", "    environment: {A: b}\n", "    limits: {memory: 32M}\n", "replaced bank [environment limits]"},
		{"a service more", "mailboxes:", "  shop: {runtime: host, command: [/bin/true]}\nmailboxes:", "added shop"},
		{"a route", "to: web}]", "to: web}, {path: '/b', to: web}]", "replaced gateway [routes]"},
		{"a listener", ":8888", ":8889", "fixed gateway.listen"},
		{"the budget", "2G", "3G", "fixed budget"},
		{"the name", "name: diff", "name: other", "fixed name"},
		{"a mailbox", "name: letters", "name: letters, messages: 9", "mailbox letters"},
		{"the rate of a mailbox", "name: letters", "name: letters, rate: 5/s", "live mailboxes.letters.rate"},
		{"and more of it", "name: letters", "name: letters, rate: 5/s, size: 1K", "mailbox letters"},
		{"the rate of a port", "http: 8081", "http: {port: 8081, rate: 5/s}", "live services.web.http"},
		{"the rate of another port", "http: 8081", "http: {port: 8082, rate: 5/s}", "replaced web [http]; granted gateway http web:8082; revoked gateway http web:8081"},
		{"an assertion", "budget:", "assert: ['web -/-> internet']\nbudget:", "live assert"},
		{"a door", "budget:", "egress: {resolver: '192.0.2.53:53'}\nbudget:", "fixed egress"},
		{"principals", "[alice]", "[alice, bob]", "fixed principals"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := mustParse(t, text)
			if tt.from != "" && !strings.Contains(text, tt.from) {
				t.Fatalf("nothing to replace")
			}
			d := mustParse(t, strings.Replace(text, tt.from, tt.to, 1)).Differs(before, nil, nil)
			if got := d.words(); got != tt.want {
				t.Errorf("differs in %q, want %q", got, tt.want)
			}
			if d.Empty() != (tt.want == "") {
				t.Errorf("Empty = %v", d.Empty())
			}
		})
	}
}

func (d *Diff) words() string {
	var all []string
	for _, c := range d.Fixed {
		all = append(all, "fixed "+c.Name)
	}
	for _, c := range d.Replaced {
		all = append(all, fmt.Sprintf("replaced %s %v", c.Name, c.Keys))
	}
	for _, s := range d.Added {
		all = append(all, "added "+s)
	}
	for _, s := range d.Removed {
		all = append(all, "removed "+s)
	}
	for _, g := range d.Granted {
		all = append(all, "granted "+g.From+" "+g.Kind+" "+g.Object())
	}
	for _, g := range d.Revoked {
		all = append(all, "revoked "+g.From+" "+g.Kind+" "+g.Object())
	}
	for _, m := range d.Mailboxes {
		all = append(all, "mailbox "+m)
	}
	for _, l := range d.Live {
		all = append(all, "live "+l)
	}
	return strings.Join(all, "; ")
}

// A program that was built anew is a change, and one that was looked at is none.
func TestPrints(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bin", "bank")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(program, "one")
	a, err := Parse("m.yaml", []byte("version: 1\nname: a\nservices: {bank: {runtime: host, command: [/app/bank], files: [{from: bin, to: /app}]}}\n"), dir, HostPath)
	if err != nil {
		t.Fatal(err)
	}
	before := a.Prints()
	if again := a.Prints(); again["bank"] != before["bank"] || before["bank"] == "" {
		t.Errorf("Prints = %v, then %v", before, again)
	}
	changed := func(what string) {
		t.Helper()
		now := a.Prints()
		if now["bank"] == before["bank"] {
			t.Errorf("%s does not show", what)
		}
		if d := a.Differs(a, now, before); len(d.Replaced) != 1 || d.Replaced[0].Keys[0] != "files: what they hold" {
			t.Errorf("%s: %+v", what, d)
		}
		before = now
	}
	write(program, "another")
	changed("a program that was written to")
	write(program+".new", "another")
	if err := os.Rename(program+".new", program); err != nil {
		t.Fatal(err)
	}
	changed("a program that was put in its place")
	write(filepath.Join(dir, "bin", "more"), "x")
	changed("a file more")
	if err := os.Remove(filepath.Join(dir, "bin", "more")); err != nil {
		t.Fatal(err)
	}
	changed("a file less")
}
