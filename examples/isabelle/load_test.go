package isabelle_test

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/examples/isabelle/isabelletest"
)

// load is a class at work. Everybody has an address of his own, as people have.
type load struct {
	*class
	t *testing.T

	mu    sync.Mutex
	took  map[string][]time.Duration // by what was done
	wrong []string
}

// did notes how long something took, or that it went wrong.
func (l *load) did(who, what string, since time.Time, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %s after %v: %v", who, what, time.Since(since).Round(time.Millisecond), err))
		return false
	}
	l.took[what] = append(l.took[what], time.Since(since))
	return true
}

// dial connects from an address of the loopback.
func (l *load) dial(from int) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(from))}}
	return d.Dial("tcp", l.address)
}

func (l *load) login(from int, name string) (*isabelletest.Client, error) {
	conn, err := l.dial(from)
	if err != nil {
		return nil, err
	}
	return isabelletest.TryPassword(l.t, conn, l.passwords[name])
}

// honest does what a student does, so many times: it starts a session, has theories
// checked over connections of their own, and stops the session.
func (l *load) honest(from int, name string, rounds int) {
	for round := range rounds {
		begin := time.Now()
		c, err := l.login(from, name)
		if !l.did(name, "connect", begin, err) {
			return
		}
		begin = time.Now()
		end, _, err := c.TryTask("session_start", arg{"session": "HOL"})
		if err == nil && end.Kind != "FINISHED" {
			err = fmt.Errorf("%s %s", end.Kind, end.Text)
		}
		if !l.did(name, "session_start", begin, err) {
			c.Close()
			return
		}
		session := end.String("session_id")
		for n := range 3 {
			theory := fmt.Sprintf("T%d_%d", round, n)
			text := fmt.Sprintf("theory %s imports Main begin\nlemma \"A ∧ B ⟶ B\" by simp\nML ‹writeln (Int.toString (%d * 1000 + %d))›\nend\n", theory, round, n)
			if err := os.WriteFile(filepath.Join(l.of(name), theory+".thy"), []byte(text), 0o644); err != nil {
				l.did(name, "write", begin, err)
			}
			begin = time.Now()
			one, err := l.login(from, name)
			if err == nil {
				end, _, err = one.TryTask("use_theories", arg{"session_id": session, "theories": []string{theory}, "master_dir": l.of(name)})
				if err == nil && (end.Kind != "FINISHED" || end.Get("ok") != true || !strings.Contains(end.Text, fmt.Sprintf(`"message":"%d"`, round*1000+n))) {
					err = fmt.Errorf("%s %s", end.Kind, end.Text)
				}
				one.Close()
			}
			l.did(name, "use_theories", begin, err)
			time.Sleep(500 * time.Millisecond) // as often as the manager lets one
		}
		begin = time.Now()
		end, _, err = c.TryTask("session_stop", arg{"session_id": session})
		if err == nil && end.Kind != "FINISHED" {
			err = fmt.Errorf("%s %s", end.Kind, end.Text)
		}
		l.did(name, "session_stop", begin, err)
		c.Close()
	}
}

// attacks are what hostile members do, again and again until stop is closed. Nobody
// cares how that ends for them.
var attacks = []struct {
	name string
	once func(l *load, from int, name string, stop <-chan struct{})
}{
	{"tasks", func(l *load, from int, name string, stop <-chan struct{}) {
		conn, err := l.dial(from)
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(conn, "%s\n", l.passwords[name])
		for range 5000 { // and nobody reads the answers
			if _, err := fmt.Fprintf(conn, "use_theories {\"session_id\":\"00000000-0000-4000-8000-000000000000\",\"theories\":[\"T\"]}\nsession_start {\"session\":\"HOL\"}\n"); err != nil {
				return
			}
		}
	}},
	{"garbage", func(l *load, from int, name string, _ <-chan struct{}) {
		noise := make([]byte, 1<<16)
		rand.Read(noise)
		for _, text := range []string{string(noise), l.passwords[name] + "\n" + string(noise), l.passwords[name] + "\n9999999999\nx",
			l.passwords[name] + "\necho " + strings.Repeat("[", 100000) + "\n", l.passwords[name] + "\n262144\n" + strings.Repeat("x", 262144)} {
			if conn, err := l.dial(from); err == nil {
				conn.SetDeadline(time.Now().Add(time.Second))
				conn.Write([]byte(text))
				conn.Read(noise)
				conn.Close()
			}
		}
	}},
	{"connections", func(l *load, from int, name string, stop <-chan struct{}) {
		var all []net.Conn
		for n := range 400 {
			conn, err := l.dial(from)
			if err != nil {
				break
			}
			all = append(all, conn)
			if n%2 == 0 {
				fmt.Fprintf(conn, "%s\n", l.passwords[name])
			}
		}
		select {
		case <-stop:
		case <-time.After(3 * time.Second):
		}
		for _, conn := range all {
			conn.Close()
		}
	}},
	{"slow", func(l *load, from int, name string, stop <-chan struct{}) {
		var all []net.Conn
		for range 60 {
			if conn, err := l.dial(from); err == nil {
				all = append(all, conn)
			}
		}
	bytes:
		for n := range 15 { // a byte each second
			for i, conn := range all {
				text := l.passwords[name] + "\n200000\n" + strings.Repeat("x", 100)
				if i%2 == 0 {
					text = text[:len(l.passwords[name])] // the first line never ends
				}
				conn.SetDeadline(time.Now().Add(time.Second))
				conn.Write([]byte(text[n%len(text) : n%len(text)+1]))
			}
			select {
			case <-stop:
				break bytes
			case <-time.After(time.Second):
			}
		}
		for _, conn := range all {
			conn.Close()
		}
	}},
	{"memory", func(l *load, from int, name string, _ <-chan struct{}) { l.uses(from, name, "Memory") }},
	{"loop", func(l *load, from int, name string, _ <-chan struct{}) { l.uses(from, name, "Loop") }},
	{"forks", func(l *load, from int, name string, _ <-chan struct{}) { l.uses(from, name, "Forks") }},
}

// uses has a hostile theory checked.
func (l *load) uses(from int, name, theory string) {
	c, err := l.login(from, name)
	if err != nil {
		return
	}
	defer c.Close()
	end, _, err := c.TryTask("session_start", arg{"session": "HOL"})
	if err != nil || end.Kind != "FINISHED" {
		return
	}
	c.TryTask("use_theories", arg{"session_id": end.String("session_id"), "theories": []string{theory}, "master_dir": l.of(name)})
	c.TryTask("session_stop", arg{"session_id": end.String("session_id")})
}

// TestClass is a class at work, once alone and once with members that attack. All that
// the honest ones ask for works. COFFERDAM_TEST_STUDENTS=20 is a whole class, of which
// seven are hostile; without it there are five, and two.
func TestClass(t *testing.T) {
	students, hostile, rounds := 5, 2, 1
	if v := os.Getenv("COFFERDAM_TEST_STUDENTS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 2 || n > 200 {
			t.Fatalf("COFFERDAM_TEST_STUDENTS=%q is no number from 2 to 200", v)
		}
		students, hostile, rounds = n, max(1, n*7/20), 5
	}
	var names []string
	for n := range students {
		names = append(names, fmt.Sprintf("student%d", n+1))
	}
	l := &load{class: open(t, names, "-each", "500ms", "-burst", "10", "-use", "15s", "-answer", "10s", "-ping", "2s"), t: t, took: make(map[string][]time.Duration)}
	l.Down(t)
	text, err := os.ReadFile(l.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	// All instances fit in.
	changed := strings.Replace(string(text), "gateway:\n", fmt.Sprintf("budget: {memory: %dM, pids: %d, instances: %d}\ngateway:\n", 1024+96*students, 512+64*students, 8+students), 1)
	if changed == string(text) || strings.Count(changed, "memory: 96M, pids: 64,") != 1 {
		t.Fatalf("the manifest is not what it was:\n%s", text)
	}
	if err := os.WriteFile(l.Manifest, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	l.up(t)
	for _, name := range names[:hostile] {
		for _, file := range []string{"Try.thy", "Memory.thy", "Loop.thy", "Forks.thy"} {
			text, err := os.ReadFile(filepath.Join("hostile", file))
			if err != nil {
				t.Fatal(err)
			}
			l.put(t, name, file, string(text))
		}
	}
	work := func() map[string][]time.Duration {
		l.took = make(map[string][]time.Duration)
		var all sync.WaitGroup
		for n, name := range names[hostile:] {
			all.Go(func() { l.honest(hostile+n+1, name, rounds) })
		}
		all.Wait()
		return l.took
	}
	quiet := work()

	stop := make(chan struct{})
	var attackers sync.WaitGroup
	made := make([]int, len(attacks)) // how often each was
	for n, a := range attacks {
		attackers.Go(func() {
			for who := n * hostile / len(attacks); ; time.Sleep(50 * time.Millisecond) {
				select {
				case <-stop:
					return
				default:
					a.once(l, who+1, names[who], stop)
					made[n]++
				}
			}
		})
	}
	time.Sleep(2 * time.Second)
	attacked := work()
	close(stop)
	attackers.Wait()

	for _, w := range l.wrong {
		t.Error(w)
	}
	for what, n := range map[string]int{"connect": 1, "session_start": 1, "use_theories": 3, "session_stop": 1} {
		want := n * rounds * (students - hostile)
		if len(quiet[what]) != want || len(attacked[what]) != want {
			t.Errorf("%s: %d and %d times, want %d", what, len(quiet[what]), len(attacked[what]), want)
		}
	}
	for n, a := range attacks {
		if made[n] == 0 {
			t.Errorf("nobody has attacked with %s", a.name)
		}
	}
	lost := 0 // none, where they get into each other's way: an instance full of programs starts no prover
	for _, name := range names[:hostile] {
		lost += len(l.ends(t, name))
	}
	for _, name := range names[hostile:] {
		for _, e := range l.ends(t, name) {
			if e.cause != "policy" { // it was let go because nobody used it
				t.Errorf("an instance of %s has ended: %v", name, e)
			}
		}
	}
	t.Logf("%d honest students and %d hostile ones, %d instances of whom were lost; quiet and attacked", students-hostile, hostile, lost)
	for _, what := range []string{"connect", "session_start", "use_theories", "session_stop"} {
		t.Logf("%-13s %4d times  %s  |  %s", what, len(quiet[what]), spread(quiet[what]), spread(attacked[what]))
	}
}

// spread is the median, the slowest of nineteen in twenty, and the slowest.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "never"
	}
	slices.Sort(all)
	at := func(n int) time.Duration { return all[(len(all)-1)*n/100].Round(time.Millisecond) }
	return fmt.Sprintf("p50 %6v p95 %6v max %6v", at(50), at(95), at(100))
}
