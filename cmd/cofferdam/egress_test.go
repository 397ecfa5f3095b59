package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cofferdam/audit"
)

// site is one application of a test, run by some user of the host.
type site struct {
	t    *testing.T
	dir  string
	uid  uint32 // 0: as the test is
	name string
	wrap []string // what goes before the command
}

// newSite prepares the application name for a user. Programs called prober and
// tenant are beside its manifest.
func newSite(t *testing.T, name, manifest string, uid uint32) *site {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cofferdam-test-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, uid: uid, name: name}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"cofferdam", "prober", "tenant"} {
		if out, err := exec.Command("cp", self, filepath.Join(dir, program)).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v %s", program, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cofferdam.yaml"), []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if uid != 0 {
		if err := os.Chown(dir, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		s.run("down")
		os.RemoveAll(dir)
	})
	return s
}

// run runs cofferdam and returns what it printed, and its exit code.
func (s *site) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	args = append(append([]string{}, s.wrap...), append([]string{filepath.Join(s.dir, "cofferdam")}, args...)...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir,
		"COFFERDAM_STATE_DIR=" + s.dir + "/state", "COFFERDAM_RUNTIME_DIR=" + s.dir + "/run"}
	if s.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("%q: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (s *site) up() {
	s.t.Helper()
	if _, errs, code := s.run("up", "-d"); code != 0 {
		if strings.Contains(errs, "not supported by this host") {
			s.t.Skipf("needs isolation: %s", errs)
		}
		s.t.Fatalf("up: %d\n%s", code, errs)
	}
}

// inside runs a program in the instance of service and returns what it printed.
func (s *site) inside(service string, args ...string) string {
	s.t.Helper()
	out, errs, _ := s.run(append([]string{"exec", service, "--"}, args...)...)
	return strings.TrimSpace(out + errs)
}

// records are those of op by subject, from number from on.
func (s *site) records(subject string, kind audit.Kind) (all []audit.Record) {
	s.t.Helper()
	out, errs, code := s.run("audit", "-n", "-1", "--format", "jsonl")
	if code != 0 {
		s.t.Fatalf("audit: %s", errs)
	}
	for line := range strings.Lines(out) {
		r := parseRecord(s.t, line)
		if r.Op == "egress" && r.Subject == subject && r.Kind == kind {
			all = append(all, r)
		}
	}
	return all
}

// last is the latest decision on a way out of subject, in words.
func (s *site) last(subject string) string {
	s.t.Helper()
	all := s.records(subject, audit.KindDecision)
	if len(all) == 0 {
		return ""
	}
	r := all[len(all)-1]
	return strings.TrimSpace(r.Verdict + " " + r.Object + " " + r.Rule + "; " + r.Detail)
}

// users are who runs an application in the tests: whoever runs the test, and an
// ordinary user if that is root.
func users() map[string]uint32 {
	if os.Getuid() == 0 {
		return map[string]uint32{"root": 0, "user": 23457}
	}
	return map[string]uint32{"user": 0}
}

func listenLocal(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return l, port
}

const egressManifest = `version: 1
name: way-out
allow_degraded: [cgroup] # for hosts on which a user has none
egress: {resolver: '127.0.0.1:DNS'}
services:
  tool:
    runtime: host
    command: [/app/prober, wait]
    files: [{from: prober, to: /app/prober}]
    uses:
      - {egress: 'here.example:WEB', private: true}
      - {egress: '127.0.0.1:WEB', private: true}
      - {egress: 'public.example:WEB'}
      - {egress: 'absent.example:WEB'}
      - {egress: 'slow.example:WEB', private: true, rate: {bytes: 64K/s}}
      - {egress: 'few.example:WEB', private: true, rate: {connections: 1/s}}
  bare:
    runtime: host
    command: [/app/prober, wait]
    files: [{from: prober, to: /app/prober}]
    uses: []
`

// TestEgress lets real programs try to get out, and to where they may not.
func TestEgress(t *testing.T) {
	for who, uid := range users() {
		t.Run(who, func(t *testing.T) { testEgress(t, uid) })
	}
}

func testEgress(t *testing.T, uid uint32) {
	o := newOutside(map[string][]string{
		"here.example": {"127.0.0.1"}, "public.example": {"127.0.0.1"}, "slow.example": {"127.0.0.1"},
		"few.example": {"127.0.0.1"}, "other.example": {"127.0.0.1"},
	})
	dns, dnsPort := listenLocal(t)
	web, webPort := listenLocal(t)
	go o.serveDNS(dns)
	go o.serveHTTP(web)
	s := newSite(t, "way-out", strings.NewReplacer("DNS", dnsPort, "WEB", webPort).Replace(egressManifest), uid)
	s.up()
	at := func(format string) string { return strings.ReplaceAll(format, "WEB", webPort) }
	curl := func(args ...string) string {
		return s.inside("tool", append([]string{"curl", "-s", "-S", "--max-time", "20"}, args...)...)
	}
	record := func(what, want string) {
		t.Helper()
		want = at(want)
		for end := time.Now().Add(10 * time.Second); !strings.Contains(s.last("tool"), want); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) { // what is allowed is written some time later
				t.Errorf("%s: the last record is %q, want %q", what, s.last("tool"), want)
				return
			}
		}
	}
	check := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, at(want)) {
			t.Errorf("%s: got %q, want %q; the last decision: %s", what, got, at(want), s.last("tool"))
		}
	}

	// Programs that say one byte a second to the proxy, and nothing of use, while all
	// else goes on.
	idle := make(chan string, 2)
	for _, text := range []string{"CONNECT a.example:1 HTTP/1.1\\x0d\\x0aa: b\\x0d\\x0a", "\\x05\\xff\\x00"} {
		go func() { idle <- s.inside("tool", "/app/prober", "idle", "egress:3128", text) }()
	}

	// A program that knows of no proxy.
	here := at("at 127.0.0.1:WEB for here.example:WEB")
	check("a granted name", curl("--noproxy", "*", at("http://here.example:WEB/")), here)
	record("its record", "allow here.example:WEB cofferdam.yaml:11; address 127.0.0.1, loopback")
	check("as the environment says", curl(at("http://here.example:WEB/")), here)
	if n := o.questions("here.example"); n != 2 {
		t.Errorf("here.example was asked for %d times, want 2, for A and for AAAA", n)
	}
	check("an ungranted name", curl("--noproxy", "*", at("http://other.example:WEB/")), "Could not resolve host")
	check("another port", curl("--noproxy", "*", at("http://here.example:1/")), "Failed to connect")
	check("an address", s.inside("tool", "/app/prober", "raw", at("127.0.0.1:WEB"), "x"), "connection refused")
	check("an address elsewhere", s.inside("tool", "/app/prober", "raw", "9.9.9.9:443", "x"), "network is unreachable")
	check("a datagram", s.inside("tool", "/app/prober", "udp", "9.9.9.9:53"), "network is unreachable")
	check("a ping", s.inside("tool", "sh", "-c", `python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)' 2>&1; python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)' 2>&1`), "Error")
	check("the proxy is in the environment", s.inside("tool", "sh", "-c", "env | grep -i ^https_proxy"), "http://egress:3128")
	check("without a grant, no proxy", s.inside("bare", "sh", "-c", `env | grep -ci proxy`), "0")
	check("without a grant", s.inside("bare", "/app/prober", "raw", at("here.example:WEB"), "x"), "no such host")

	// What a name leads to is not what it is granted for.
	check("a public name that leads here", curl("--noproxy", "*", at("http://public.example:WEB/")), "curl: (5")
	record("its record", "deny public.example:WEB cofferdam.yaml:13: leads to an address that is loopback, without private: true; address 127.0.0.1, loopback")
	if out, _, _ := s.run("why"); !strings.Contains(out, at("- {egress: 'public.example:WEB', private: true}")) {
		t.Errorf("why says\n%s", out)
	}
	check("a name that is not there", curl("--noproxy", "*", at("http://absent.example:WEB/")), "curl: (5")
	record("its record", "allow absent.example:WEB cofferdam.yaml:14; not resolved: the name has no address")

	// Redirects are new connections.
	check("redirect to what is granted", curl("-L", at("http://here.example:WEB/to/http://127.0.0.1:WEB/"), "--proxytunnel", "--proxy", "http://egress:3128", "--noproxy", "here.example"), "at 127.0.0.1:WEB for 127.0.0.1:WEB")
	check("redirect to what is not", curl("-L", at("http://here.example:WEB/to/http://other.example:WEB/"), "--proxytunnel", "--proxy", "http://egress:3128"), "403")
	record("its record", "deny other.example:WEB default: nothing is granted")

	// Programs that want a proxy.
	for _, proxy := range []string{"http://egress:3128", "socks5h://egress:3128"} {
		through := []string{"--proxytunnel", "--noproxy", "", "--proxy", proxy}
		try := func(url string) string { return curl(append(through, at(url))...) }
		check(proxy+" a name", try("http://here.example:WEB/"), here)
		check(proxy+" in capitals, with a dot", try("http://HERE.Example.:WEB/"), "at 127.0.0.1:WEB")
		check(proxy+" an address", try("http://127.0.0.1:WEB/"), "at 127.0.0.1:WEB for 127.0.0.1:WEB")
		check(proxy+" a mapped address", try("http://[::ffff:127.0.0.1]:WEB/"), "at 127.0.0.1:WEB")
		for _, not := range []string{"http://other.example:WEB/", "http://127.0.0.2:WEB/", "http://127.0.0.1:1/", "http://[::1]:WEB/", at("http://public.example:WEB/")} {
			got := try(not)
			if !strings.Contains(got, "403") && !strings.Contains(got, "(2)") {
				t.Errorf("%s %s: got %q, want a refusal", proxy, not, got)
			}
		}
	}
	raw := func(texts ...string) string {
		return s.inside("tool", append([]string{"/app/prober", "raw", "egress:3128"}, texts...)...)
	}
	check("a method", raw(at("GET http://here.example:WEB/ HTTP/1.1\\x0d\\x0a\\x0d\\x0a")), "405")
	for _, host := range []string{
		"here.example\\x00.evil.example:WEB", "here.example:WEB\\x00", "here.example%00:WEB", "[fe80::1%lo]:WEB", "127.1:WEB", "2130706433:WEB",
		"0x7f.0.0.1:WEB", "0177.0.0.1:WEB", "127.0.0.1:0WEB", "127.0.0.1:", "user@here.example:WEB", "here.example..:WEB", "\\xe2\\x84\\xaa.example:WEB", "a.b." + strings.Repeat("x", 400) + ":WEB",
	} {
		got := raw(at("CONNECT " + host + " HTTP/1.1\\x0d\\x0a\\x0d\\x0a"))
		if !strings.Contains(got, "HTTP/1.1 403") {
			t.Errorf("CONNECT %s: got %q, want 403", host, got)
		}
		if last := s.last("tool"); !strings.HasPrefix(last, `deny "`) {
			t.Errorf("CONNECT %s was recorded as %q", host, last)
		}
	}
	check("too long a head", raw("CONNECT x:1 HTTP/1.1\\x0d\\x0a"+strings.Repeat("a: b\\x0d\\x0a", 3000)), "431")
	check("a name with NUL", raw("\\x05\\x01\\x00", "\\x05\\x01\\x00\\x03\\x14here.example\\x00.example\\x00\\x50"), `"\x05\x00\x05\x02\x00\x01`)
	record("its record", `deny "here.example\x00.exampl`)
	check("a password", raw("\\x05\\x01\\x02"), `"\x05\xff"`)
	check("UDP", raw("\\x05\\x01\\x00", "\\x05\\x03\\x00\\x01\\x7f\\x00\\x00\\x01\\x00\\x50"), `"\x05\x00\x05\a`)

	// Limits are of the grant, and fire.
	const big = 256 << 10
	began := time.Now()
	check("a slow grant", s.inside("tool", "/app/prober", "get", at("slow.example:WEB"), at("slow.example:WEB"), fmt.Sprintf("/big/%d", big)), fmt.Sprintf("200 OK %d <nil>", big))
	if least := 2 * time.Second; time.Since(began) < least { // a burst of a second, then 64 KiB each
		t.Errorf("256 KiB at 64 KiB a second took %v", time.Since(began))
	}
	limits := s.records("tool", audit.KindLimit)
	if len(limits) != 1 || !strings.Contains(limits[0].Detail, "rate.bytes: 65536/s: it goes slower") {
		t.Errorf("the byte rate was recorded as %+v, want one record", limits)
	}
	met := 0
	for range 8 {
		if strings.Contains(s.inside("tool", "sh", "-c", at(`for i in 1 2 3 4 5; do /app/prober get few.example:WEB few.example:WEB / & done; wait`)), "200 OK") {
			met++
		}
	}
	limits = s.records("tool", audit.KindLimit)
	if len(limits) != 2 || !strings.Contains(limits[1].Detail, "rate.connections: 1/s: more is refused") || met == 0 {
		t.Errorf("the rate of connections was recorded as %+v", limits)
	}
	if n := len(s.records("egress", audit.KindDecision)); n < 5 {
		t.Errorf("%d connections to the resolver are on record", n)
	}

	// The operator sees it.
	if out, _, _ := s.run("ps"); !strings.Contains(out, at("egress: 127.0.0.1:WEB,absent.example:WEB")) {
		t.Errorf("ps says\n%s", out)
	}
	if out, _, _ := s.run("check"); !strings.Contains(out, "private too") || !strings.Contains(out, "names outside are asked of") {
		t.Errorf("check says\n%s", out)
	}

	for range 2 {
		check("a program that takes its time", <-idle, `within a minute: true`)
	}

	// What is stopped has no way out any more.
	stopped := make(chan string, 1)
	go func() { stopped <- s.inside("tool", "/app/prober", "get", at("here.example:WEB"), "h", "/slow") }()
	for o.metBy(at("127.0.0.1:WEB for h")) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if _, errs, code := s.run("down"); code != 0 {
		t.Errorf("down: %s", errs)
	}
	<-stopped
}

func (o *outside) metBy(key string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.met[key]
}

func parseRecord(t *testing.T, line string) audit.Record {
	t.Helper()
	var r audit.Record
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return r
}

// inWorld is set where a test has gone into a network namespace.
const inWorld = "COFFERDAM_TEST_WORLD"

// TestEgressPage types what the page on ways out shows, in that world.
func TestEgressPage(t *testing.T) {
	if enterWorld(t) {
		for who, uid := range users() {
			t.Run(who, func(t *testing.T) { testPage(t, uid) })
		}
	}
}

// enterWorld runs the test that calls it in a network namespace of its own, and
// returns true there.
func enterWorld(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network interfaces")
	}
	if os.Getenv(inWorld) == "" {
		cmd := exec.Command("unshare", "-n", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m")
		cmd.Env = append(os.Environ(), inWorld+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return false
	}
	makeWorld(t)
	return true
}

// TestEgressToTheInternet has addresses of the Internet in network namespaces of
// its own: in one the host, in another, at the end of a wire, all the rest. Names
// that lead elsewhere than to the rest are refused, however they get there.
func TestEgressToTheInternet(t *testing.T) {
	if !enterWorld(t) {
		return
	}
	// Whoever gets to the host itself is met here.
	host := newOutside(nil)
	for _, addr := range []string{"0.0.0.0:80", "[::]:80"} {
		l, err := net.Listen(map[bool]string{true: "tcp4", false: "tcp6"}[addr[0] == '0'], addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go host.serveHTTP(l)
	}
	for who, uid := range users() {
		t.Run(who, func(t *testing.T) { testInternet(t, uid, "rebind-"+who+".example") })
	}
	host.mu.Lock()
	defer host.mu.Unlock()
	if len(host.met) > 0 {
		t.Errorf("the host itself was reached: %v", host.met)
	}
}

// makeWorld puts a wire between here, 9.9.9.1, and a program that plays the
// Internet at 9.9.9.9.
func makeWorld(t *testing.T) {
	t.Helper()
	sh := func(script string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "internet")
	if err := os.Link(os.Args[0], program); err != nil {
		sh("cp " + os.Args[0] + " " + program)
	}
	rest := exec.Command("unshare", "-n", "sh", "-ec", `echo there; read wire
		ip link set lo up; ip link set "$wire" up
		ip addr add 9.9.9.9/24 dev "$wire"; ip -6 addr add 2620:fe::9/64 dev "$wire" nodad
		exec `+program+` 9.9.9.9 2620:fe::9`)
	in, err := rest.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := rest.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	rest.Stderr = os.Stderr
	if err := rest.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		rest.Wait()
	})
	says := bufio.NewScanner(out)
	says.Scan()
	sh(fmt.Sprintf(`ip link set lo up; ip link add name here type veth peer name there; ip link set there netns %d
		ip addr add 9.9.9.1/24 dev here; ip -6 addr add 2620:fe::1/64 dev here nodad; ip link set here up`, rest.Process.Pid))
	fmt.Fprintln(in, "there")
	if says.Scan(); says.Text() != "ready" {
		t.Fatalf("the Internet says %q", says.Text())
	}
}

func testInternet(t *testing.T, uid uint32, rebind string) {
	var uses strings.Builder
	for name := range internetZone {
		if name != "ungranted.example" {
			fmt.Fprintf(&uses, "      - {egress: '%s:80'}\n", name)
		}
	}
	s := newSite(t, "world", `version: 1
name: world
allow_degraded: [cgroup] # for hosts on which a user has none
egress: {resolver: '9.9.9.9:53'}
services:
  tool:
    runtime: host
    command: [/app/prober, wait]
    files: [{from: prober, to: /app/prober}]
    uses:
      - {egress: '9.9.9.9:80'}
`+uses.String(), uid)
	s.up()
	curl := func(args ...string) string {
		return s.inside("tool", append([]string{"curl", "-s", "-S", "--max-time", "20"}, args...)...)
	}
	for _, tt := range []struct{ name, want string }{
		{"good.example", "at 9.9.9.9:80 for good.example"},
		{"alias.example", "at 9.9.9.9:80 for alias.example"},
		{"six.example", "at [2620:fe::9]:80 for six.example"},
		{"mixed.example", "at 9.9.9.9:80 for mixed.example"},
		{rebind, "at 9.9.9.9:80 for " + rebind},
		{rebind, "at 9.9.9.9:80 for " + rebind}, // DNS would say another by now
	} {
		if got := curl("http://" + tt.name + "/"); got != tt.want {
			t.Errorf("%s: got %q, want %q; the last record: %s", tt.name, got, tt.want, s.last("tool"))
		}
	}
	if got := curl("--proxytunnel", "--noproxy", "", "--proxy", "http://egress:3128", "http://9.9.9.9/"); got != "at 9.9.9.9:80 for 9.9.9.9" {
		t.Errorf("an address through the proxy: got %q", got)
	}
	if got := curl("--proxytunnel", "--noproxy", "", "--proxy", "http://egress:3128", "http://ungranted.example/"); !strings.Contains(got, "403") {
		t.Errorf("an ungranted name through the proxy: got %q", got)
	}
	for _, tt := range []struct{ name, class, address string }{
		{"inner.example", "loopback", "127.0.0.1"},
		{"hidden.example", "loopback", "127.0.0.1"},
		{"site.example", "private", "10.0.0.1"},
		{"shared.example", "private", "100.64.0.1"},
		{"unique.example", "private", "fd00::1"},
		{"link.example", "link-local", "169.254.1.1"},
		{"meta.example", "metadata", "169.254.169.254"},
		{"mapped.example", "loopback", "127.0.0.1"},
		{"nat.example", "loopback", "64:ff9b::7f00:1"},
		{"nothing.example", "reserved", "0.0.0.0"},
		{"all.example", "reserved", "255.255.255.255"},
		{"self.example", "loopback", "9.9.9.1"},
	} {
		if got := curl("http://" + tt.name + "/"); !strings.HasPrefix(got, "curl: (5") {
			t.Errorf("%s: got %q, want a closed connection", tt.name, got)
		}
		got, want := s.last("tool"), fmt.Sprintf("address %s, %s", tt.address, tt.class)
		if !strings.HasPrefix(got, "deny "+tt.name) || !strings.HasSuffix(got, want) {
			t.Errorf("%s was recorded as %q, want a denial with %q", tt.name, got, want)
		}
	}
	if got := curl("http://loop.example/"); !strings.HasPrefix(got, "curl: (5") {
		t.Errorf("aliases in a circle: got %q", got)
	}
	// Asked anew, the name leads here: what was right once is not taken for granted.
	if _, errs, code := s.run("down"); code != 0 {
		t.Fatalf("down: %s", errs)
	}
	s.up()
	if got := curl("http://" + rebind + "/"); !strings.HasPrefix(got, "curl: (5") {
		t.Errorf("a name that was bound again: got %q", got)
	}
	if got := s.last("tool"); !strings.HasPrefix(got, "deny "+rebind) || !strings.HasSuffix(got, "address 127.0.0.1, loopback") {
		t.Errorf("a name that was bound again was recorded as %q", got)
	}
}

// testPage types what docs/EGRESS.md shows. A line with ! must fail.
func testPage(t *testing.T, uid uint32) {
	page, err := os.ReadFile("../../docs/EGRESS.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		_, rest, ok := strings.Cut(string(page), "```"+kind+"\n")
		text, _, end := strings.Cut(rest, "```")
		if !ok || !end {
			t.Fatalf("docs/EGRESS.md shows no %s", kind)
		}
		return text
	}
	// The resolver is the world's, and the host may be one on which a user has no cgroups.
	manifest := block("yaml") + "egress: {resolver: '9.9.9.9:53'}\nallow_degraded: [cgroup]\n"
	s := newSite(t, "fetch", manifest, uid)
	for line := range strings.Lines(block("sh")) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		line, fails := strings.CutPrefix(line, "! ")
		words := strings.Fields(strings.ReplaceAll(line, "'", ""))
		if words[0] != "cofferdam" {
			t.Fatalf("docs/EGRESS.md: %q", line)
		}
		out, errs, code := s.run(words[1:]...)
		if (code != 0) != fails {
			t.Errorf("%s: exit code %d\n%s%s", line, code, out, errs)
		}
		for part, want := range map[string]string{
			"http://example.com/":  "at 9.9.9.9:80 for example.com",
			"http://example.org/":  "Could not resolve host",
			"http://1.1.1.1/":      "connect to",
			"https://example.org/": "403",
			"cofferdam why":        "- {egress: example.org:443}",
		} {
			if strings.Contains(line, part) && !strings.Contains(out+errs, want) {
				t.Errorf("%s: got\n%s%s\nwant %q", line, out, errs, want)
			}
		}
	}
}
