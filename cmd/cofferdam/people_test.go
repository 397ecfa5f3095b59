package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cofferdam/audit"
)

const peopleApp = `version: 1
name: people
allow_degraded: [cgroup, disk-quota]
principals: [{person: alice}, bank]
gateway:
  listen: ADDRESS
  authenticate: {call: auth.check, login: /login}
  routes:
    - {path: '/mine(/.*)?', to: page}
    - {path: '/diary(/.*)?', to: diary}
    - {path: '/alice', to: alices}
    - {path: '/(login|logout)', to: front}
    - {path: '/echo', to: echo}
    - {path: '/each', to: each}
services:
  auth: {runtime: host, command: [/app/tenant, auth], files: [tenant:/app/tenant],
    provides: [{call: check, from: [gateway]}, {call: login, from: [front]}, {call: logout, from: [front]}]}
  front: {runtime: host, command: [/app/tenant, front], files: [tenant:/app/tenant], http: 8081}
  bank: {runtime: host, command: [/app/tenant, bank], files: [tenant:/app/tenant], provides: [{call: transfer, from: [page]}]}
  echo: {runtime: host, command: [/app/tenant, echo], files: [tenant:/app/tenant], http: 8081}
  page: {runtime: host, command: [/app/tenant, page], files: [tenant:/app/tenant], http: 8081,
    instances: per-principal, idle: 1s, max_instances: 2, stop_grace_period: 200ms,
    label: 'True %% {principal}', clearance: 'True %% True', owns: '{principal}',
    volumes: [{name: 'of-{principal}', to: /data, size: 1M}],
    provides: [{call: own, from: []}],
    uses: [{call: bank.transfer, in: '{principal}'}, {connect: 'echo:8081', in: '{principal}'}]}
  each: {runtime: host, command: [/app/tenant, page], files: [tenant:/app/tenant], http: 8081,
    instances: per-label, label: 'True %% False', stop_grace_period: 200ms, provides: [{call: own, from: []}]}
  diary: {runtime: host, command: [/app/tenant, page], files: [tenant:/app/tenant], http: 8081,
    instances: per-principal, stop_grace_period: 200ms, label: '{principal} %% {principal}', provides: [{call: own, from: []}]}
  alices: {runtime: host, command: [/app/tenant, page], files: [tenant:/app/tenant], http: {port: 8081, request: 'True %% True'},
    label: 'alice %% True', provides: [{call: own, from: []}]}
`

// people is the application, with the browsers of its users.
type people struct {
	*site
	address string
}

// browser is one that has a name to log in with, or none.
type browser struct {
	t      *testing.T
	base   string
	client *http.Client
}

func startPeople(t *testing.T, uid uint32) *people {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	p := &people{newSite(t, "people", strings.Replace(peopleApp, "ADDRESS", address, 1), uid), address}
	p.up()
	return p
}

func (p *people) browser(name string) *browser {
	b := &browser{t: p.t, base: "http://" + p.address, client: &http.Client{
		Jar: newJar(p.t), Timeout: 30 * time.Second, Transport: &http.Transport{MaxConnsPerHost: 1},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.t.Cleanup(b.client.CloseIdleConnections)
	if name != "" {
		if res, _ := b.get("/login?name=" + name); res.StatusCode != 200 || len(res.Cookies()) != 1 {
			p.t.Fatalf("login as %s: %d %v\n%s", name, res.StatusCode, res.Header, p.logs())
		}
	}
	return b
}

func (p *people) logs() string {
	out, errs, _ := p.run("logs")
	return out + errs
}

// get asks for a path, and claims in every header that could be believed to be bob.
func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest("GET", b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range []string{"Cofferdam-Principal", "Cofferdam_Principal", "Cofferdam-Caller", "X-Forwarded-For"} {
		r.Header[name] = []string{"bob"}
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatalf("GET %s: %v", path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatalf("GET %s: %v", path, err)
	}
	return res, string(body)
}

// mine is what the user's page answers to a path.
func (b *browser) mine(path string) string {
	b.t.Helper()
	res, body := b.get("/mine/" + path)
	if res.StatusCode != 200 {
		b.t.Fatalf("GET /mine/%s: %d %s", path, res.StatusCode, body)
	}
	return body
}

func TestPeople(t *testing.T) {
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) { testPeople(t, uid) })
	}
}

func testPeople(t *testing.T, uid uint32) {
	p := startPeople(t, uid)
	alice, bob, nobody := p.browser("alice"), p.browser("bob"), p.browser("")
	is := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q\n%s", what, got, want, p.logs())
		}
	}

	t.Run("each has an instance of his own", func(t *testing.T) {
		is("alice's", alice.mine("self"), `alice, told ["alice"]`)
		is("bob's", bob.mine("self"), `bob, told ["bob"]`)
		is("alice's labels", alice.mine("labels"), `True %% "alice" True %% True "alice" <nil>`)
		out, _, _ := p.run("ps")
		is("ps", out, "for alice")
		if strings.Fields(alice.mine("self"))[0] == strings.Fields(bob.mine("self"))[0] {
			t.Error("it is the same")
		}
	})
	t.Run("nobody has none", func(t *testing.T) {
		res, body := nobody.get("/mine/self")
		body = strings.ReplaceAll(body, res.Header.Get("X-Request-Id"), "") // random letters, which may be his name
		if res.StatusCode != 303 || res.Header.Get("Location") != "/login" || strings.Contains(body, "bob") {
			t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
		}
		forged := p.browser("")
		for _, cookie := range []string{"bob", "token-1x", "", "token-1; session=token-2"} {
			forged.client.Jar = nil
			r, _ := http.NewRequest("GET", forged.base+"/mine/self", nil)
			r.Header.Set("Cookie", "session="+cookie)
			res, err := forged.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode == 200 {
				t.Errorf("with the cookie %q: %d", cookie, res.StatusCode)
			}
		}
	})
	t.Run("who has a name of the application's is nobody", func(t *testing.T) {
		impostor := p.browser("bank")
		if res, body := impostor.get("/mine/self"); res.StatusCode != 403 || body != "" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	})
	t.Run("the volume of the other", func(t *testing.T) {
		is("bob keeps something", bob.mine("keep?text=bobs"), "<nil> <nil>")
		is("alice keeps something", alice.mine("keep?text=alices"), "<nil> <nil>")
		if got := alice.mine("look"); strings.Contains(got, "bobs") || !strings.Contains(got, "alices") {
			t.Errorf("alice's sees %s", got)
		}
	})
	t.Run("the money of the other", func(t *testing.T) {
		is("alice's pays in bob's name", alice.mine("pay?from=bob&to=carol"), `"alice":9,"bob":10`)
		is("a frame that says it is bob's", alice.mine("forge?as=bob"), "0 bytes <nil>")
		is("bob's pays", bob.mine("pay?to=carol"), `"alice":9,"bob":9`)
		for _, call := range []string{"auth.login", "auth.check", "page.own", "diary.own", "bank.absent"} {
			is(call, alice.mine("reach?call="+call), "denied")
		}
	})
	t.Run("another service in the name of the other", func(t *testing.T) {
		is("by header", alice.mine("ask?as=bob"), `200 caller ["page"] principal ["alice"]`)
		for _, first := range []string{"COFFERDAM for 626f62 0", "COFFERDAM over 1", "COFFERDAM gateway echo 8081"} {
			got := alice.mine("ask?as=bob&first=" + strings.ReplaceAll(first, " ", "%20"))
			if strings.Contains(got, "principal") {
				t.Errorf("by the line %q: %s", first, got)
			}
		}
		res, body := alice.get("/echo")
		is("outside", body, `caller ["gateway"] principal ["alice"] cookie []`)
		if len(res.Cookies()) != 0 {
			t.Errorf("a service that has nothing to do with sessions makes one: %v", res.Cookies())
		}
		is("alice, afterwards", alice.mine("self"), `alice, told ["alice"]`)
		_, body = nobody.get("/echo")
		is("nobody", body, `caller ["gateway"] principal []`)
	})
	t.Run("the record of one", func(t *testing.T) {
		wantRecords(t, p.site, "alice", `"decision" gateway connect page:8081 allow`, `"start" page start`, `"decision" page call bank.transfer allow`,
			`"decision" page call auth.login deny`, `"decision" page connect echo:8081 allow`)
		wantRecords(t, p.site, "bank", `"decision" gateway connect page:8081 deny`)
	})
	t.Run("the connection of the other", func(t *testing.T) {
		// Both use one connection to the gateway, as behind a proxy of theirs.
		shared := &http.Transport{MaxConnsPerHost: 1}
		defer shared.CloseIdleConnections()
		alice, bob := *alice.client, *bob.client
		alice.Transport, bob.Transport = shared, shared
		a, b := &browser{t, "http://" + p.address, &alice}, &browser{t, "http://" + p.address, &bob}
		for i := range 10 {
			if _, got := a.get("/mine/two"); got != "fine" {
				t.Fatalf("alice gets %q", got)
			}
			if got := b.mine(""); got != "here is bob" {
				t.Fatalf("in round %d bob gets %q", i, got)
			}
		}
	})
	t.Run("what outlives its end", func(t *testing.T) {
		before := strings.Fields(alice.mine("self"))[0]
		mark := fmt.Sprintf("mark-%d", os.Getpid())
		is("alice's leaves a process", alice.mine("linger?mark="+mark), "<nil>")
		if !running(t, mark) {
			t.Fatal("it does not run")
		}
		awaitGone := func() {
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				out, _, _ := p.run("ps")
				if !strings.Contains(out, before+" ") {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("it does not end:\n%s", out)
				}
			}
		}
		awaitGone()
		if running(t, mark) {
			t.Error("it outlived its instance")
		}
		// Whoever comes next, it is not it.
		if got := bob.mine("self"); strings.HasPrefix(got, before+" ") {
			t.Errorf("bob has alice's: %s", got)
		}
		if got := alice.mine("look"); strings.HasPrefix(alice.mine("self"), before+" ") || strings.Contains(got, "/tmp/note") || !strings.Contains(got, "/data/note=alices") {
			t.Errorf("alice's next one: %s sees %s", alice.mine("self"), got)
		}
	})
	t.Run("each label has an instance of its own", func(t *testing.T) {
		seen := make(map[string]string)
		for who, b := range map[string]*browser{"alice": alice, "bob": bob, "nobody": nobody} {
			for range 2 {
				res, body := b.get("/each")
				if instance, known := seen[who]; res.StatusCode != 200 || known && instance != body {
					t.Errorf("%s: %d %s, before %s", who, res.StatusCode, body, instance)
				}
				seen[who] = body
			}
		}
		if seen["alice"] == seen["bob"] || seen["bob"] == seen["nobody"] || seen["nobody"] == seen["alice"] {
			t.Errorf("%v", seen)
		}
	})
	t.Run("a third takes the place of one that is idle", func(t *testing.T) {
		alice.mine("self")
		bob.mine("self")
		is("carol's", p.browser("carol").mine("self"), "carol")
		out, _, _ := p.run("ps")
		if n := strings.Count(out, "page-"); n > 2 {
			t.Errorf("%d run:\n%s", n, out)
		}
	})
	t.Run("what is secret stays with whose it is", func(t *testing.T) {
		res, body := alice.get("/diary")
		is("alice's diary", body, "here is alice")
		if !strings.Contains(res.Header.Get("Content-Security-Policy"), "sandbox") || res.Header.Get("Cache-Control") != "no-store, private" {
			t.Errorf("it is not sealed: %v", res.Header)
		}
		if res, _ := alice.get("/alice"); res.StatusCode != 200 || res.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("alice's own: %d %v", res.StatusCode, res.Header)
		}
		for who, b := range map[string]*browser{"bob": bob, "nobody": nobody} {
			if res, body := b.get("/alice"); res.StatusCode != 403 || body != "" {
				t.Errorf("%s gets alice's secret: %d %q", who, res.StatusCode, body)
			}
		}
		out, _, _ := p.run("audit", "-n", "-1", "--format", "jsonl")
		is("the log", out, `answer ⊑ answer`)
	})
	t.Run("sessions", func(t *testing.T) {
		if res, _ := alice.get("/mine/cookie"); len(res.Cookies()) != 1 {
			t.Errorf("an answer that is not secret sets no cookie: %v", res.Header)
		}
		r, _ := http.NewRequest("GET", alice.base+"/mine/self", nil)
		r.Header.Set("Cookie", "session=broken")
		res, err := (&http.Client{Transport: alice.client.Transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 503 {
			t.Errorf("when nobody knows who it is: %d", res.StatusCode)
		}
		alice.mine("self")
		alice.get("/logout")
		if res, _ := alice.get("/mine/self"); res.StatusCode != 303 {
			t.Errorf("after the logout: %d", res.StatusCode)
		}
	})
}

// running tells whether a process of the host was started with that mark.
func running(t *testing.T, mark string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, _ := os.ReadFile(f)
		if bytes.Contains(text, []byte("linger\x00"+mark)) {
			return true
		}
	}
	return false
}

// newJar keeps the cookies of one browser.
func newJar(t *testing.T) http.CookieJar {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return jar
}

// wantRecords is that audit query finds these of a principal, each "kind" subject op
// object verdict as far as it goes, and none of anybody else.
func wantRecords(t *testing.T, s *site, principal string, want ...string) {
	t.Helper()
	out, errs, _ := s.run("audit", "query", "--principal", principal, "--format", "jsonl")
	var got []string
	for line := range strings.Lines(out) {
		var r audit.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Principal != principal {
			t.Fatalf("%v: %s", err, line)
		}
		got = append(got, strings.Join([]string{fmt.Sprintf("%q", r.Kind), r.Subject, r.Op, r.Object, r.Verdict}, " "))
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(strings.TrimSpace(g)+" ", w+" ") }) {
			t.Errorf("of %s there is no %s in\n%s\n%s", principal, w, strings.Join(got, "\n"), errs)
		}
	}
}
