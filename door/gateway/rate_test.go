package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/wire"
)

// dialFrom is dial from another address of the loopback.
func dialFrom(t testing.TB, from, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

// tooMany tells whether an answer says so, and when to try again.
func tooMany(t testing.TB, got answer) bool {
	t.Helper()
	if got.status() != http.StatusTooManyRequests {
		return false
	}
	if after, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("429 with Retry-After %q", got.Header.Get("Retry-After"))
	}
	return true
}

// One peer that takes all connections that it can get leaves room for others, who are served all the
// time; it is told so, on a connection that it gets nothing else from.
func TestOnePeerLeavesRoom(t *testing.T) {
	s := start(t, Limits{Connections: 8, PerPeer: 5}, nil)
	var held []net.Conn
	for range 5 {
		held = append(held, dialFrom(t, "127.0.0.2", s.outside)) // and says nothing
	}
	for i := range 200 {
		if got := receive(t, bufio.NewReader(dialFrom(t, "127.0.0.2", s.outside))); !tooMany(t, got) || !got.Close {
			t.Fatalf("connection %d too many got %d, %v", i, got.status(), got.err)
		}
		c := dialFrom(t, "127.0.0.3", s.outside)
		io.WriteString(c, get("/"))
		if got := receive(t, bufio.NewReader(c)); got.status() != 200 {
			t.Fatalf("somebody else got %d, %v", got.status(), got.err)
		}
		c.Close()
	}
	held[0].Close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c := dialFrom(t, "127.0.0.2", s.outside)
		io.WriteString(c, get("/"))
		if got := receive(t, bufio.NewReader(c)); got.status() == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a place that was given up is not to be had again")
		}
	}
}

// scarce does not come back while a test runs.
func scarce(burst int64) Rate { return Rate{Amount: 1, PerMS: 3600_000, Burst: burst} }

// Each person has a rate of his own on a route, and whoever is not recognised that of his address.
func TestRateOfPeople(t *testing.T) {
	s := startWith(t, Config{
		Routes: []Route{
			{Path: `/dear(/.*)?`, To: "dynamic", Asks: true, Rate: scarce(2)},
			{Path: `/.*`, To: "static", Asks: true},
		},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
	}, nil, func(asked string) (string, error) {
		for _, who := range []string{"alice", "bob"} {
			if strings.Contains(asked, who) {
				return fmt.Sprintf(`{"principal":%q}`, who), nil
			}
		}
		return `{"principal":""}`, nil
	})
	for _, cookie := range []string{"alice", "bob", "x", "alice"} {
		for i := range 3 {
			got := send(t, s.outside, get("/dear", "Cookie: session="+cookie))
			if want := i == 2 || cookie == "alice" && len(s.dynamic.requests()) >= 6; tooMany(t, got) != want {
				t.Errorf("request %d of %s: %d", i, cookie, got.status())
			}
		}
		if got := send(t, s.outside, get("/free", "Cookie: session="+cookie)); got.status() != 200 {
			t.Errorf("elsewhere: %d", got.status())
		}
	}
	if n := len(s.dynamic.requests()); n != 6 {
		t.Errorf("%d requests have passed, want 2 of each", n)
	}
	if !s.logs(`"status":429`) {
		t.Error("that somebody was refused is not in the log")
	}
}

// Beyond the rate of an address nobody is asked who it is.
func TestRateOfAnAddress(t *testing.T) {
	var asked atomic.Int64
	s := startWith(t, Config{
		Routes:       []Route{{Path: `/.*`, To: "static", Asks: true}},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
		Limits:       Limits{Rate: scarce(3)},
	}, nil, func(string) (string, error) {
		asked.Add(1)
		return `{"principal":""}`, nil
	})
	for i := range 50 {
		if got := send(t, s.outside, get("/", fmt.Sprint("Cookie: session=guess", i))); tooMany(t, got) != (i >= 3) {
			t.Errorf("request %d: %d", i, got.status())
		}
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
	c := dialFrom(t, "127.0.0.9", s.outside)
	io.WriteString(c, get("/"))
	if got := receive(t, bufio.NewReader(c)); got.status() != 200 {
		t.Errorf("another address: %d", got.status())
	}
}

// One principal has so many requests under way, from however many addresses.
func TestRequestsOfOnePrincipal(t *testing.T) {
	hold := make(chan struct{})
	s := startWith(t, Config{
		Routes:       []Route{{Path: `/.*`, To: "dynamic", Asks: true}},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
		Limits:       Limits{PerPrincipal: 2},
	}, nil, func(asked string) (string, error) {
		if strings.Contains(asked, "alice") {
			return `{"principal":"alice"}`, nil
		}
		return `{"principal":"bob"}`, nil
	})
	s.dynamic.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			<-hold
		}
	}
	var long []net.Conn
	for range 2 {
		c := dial(t, s.outside)
		io.WriteString(c, get("/long", "Cookie: session=alice"))
		long = append(long, c)
	}
	for end := time.Now().Add(20 * time.Second); len(s.dynamic.requests()) < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := send(t, s.outside, get("/", "Cookie: session=alice")); !tooMany(t, got) {
		t.Errorf("a third: %d", got.status())
	}
	if got := send(t, s.outside, get("/", "Cookie: session=bob")); got.status() != 200 {
		t.Errorf("somebody else: %d", got.status())
	}
	close(hold)
	for _, c := range long {
		if got := receive(t, bufio.NewReader(c)); got.status() != 200 {
			t.Errorf("one of the two: %d, %v", got.status(), got.err)
		}
	}
	if got := send(t, s.outside, get("/", "Cookie: session=alice")); got.status() != 200 {
		t.Errorf("after they have ended: %d", got.status())
	}
}

// Between services it is the caller whose connections are counted.
func TestOneServiceLeavesRoom(t *testing.T) {
	s := start(t, Limits{Connections: 8, PerPeer: 3}, nil)
	open := func(caller string) net.Conn {
		c := dial(t, s.bridge)
		io.WriteString(c, "COFFERDAM "+caller+" dynamic 8081\n"+get("/"))
		return c
	}
	for range 3 {
		if got := receive(t, bufio.NewReader(open("greedy"))); got.status() != 200 {
			t.Fatalf("within the bound: %d", got.status())
		}
	}
	for range 50 {
		if got := receive(t, bufio.NewReader(open("greedy"))); got.status() == 200 {
			t.Fatal("a connection beyond the bound is served")
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			c := open("polite")
			got := receive(t, bufio.NewReader(c))
			c.Close()
			if got.status() == 200 {
				break
			}
			if time.Now().After(end) { // its own that it has closed may not have ended at once
				t.Fatalf("somebody else: %d", got.status())
			}
		}
	}
}

// What the rate of the authenticator refuses is refused to the person in the same way.
func TestAuthenticatorIsLimited(t *testing.T) {
	s := startWith(t, Config{
		Routes:       []Route{{Path: `/.*`, To: "static", Asks: true}},
		Says:         true,
		Authenticate: &Authenticate{Call: "auth.check", Cookie: "session"},
	}, nil, func(string) (string, error) {
		return "", &sdk.CallError{Op: "call", Name: "auth.check", Err: wire.Error{Code: wire.Limited, RetryAfter: 90 * time.Second}}
	})
	if got := send(t, s.outside, get("/", "Cookie: session=x")); !tooMany(t, got) || got.Header.Get("Retry-After") != "90" {
		t.Errorf("%d, %v", got.status(), got.Header)
	}
}

func TestMeter(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := newMeter(Rate{Amount: 2, PerMS: 1000, Burst: 3})
	for i, tt := range []struct {
		ms   time.Duration
		want time.Duration
	}{{0, 0}, {0, 0}, {0, 0}, {0, 500}, {499, 1}, {500, 0}, {500, 500}} {
		wait, ok := m.take("alice", now.Add(tt.ms*time.Millisecond))
		if ok != (tt.want == 0) || wait != tt.want*time.Millisecond {
			t.Errorf("%d: %v, %t, want %d ms", i, wait, ok, tt.want)
		}
	}
	if _, ok := m.take("bob", now); !ok {
		t.Error("bob pays for alice")
	}
	if _, ok := newMeter(Rate{}).take("x", now); !ok {
		t.Error("no limit is one")
	}
	m = newMeter(scarce(2))
	for i := range 3 * maxCounted {
		m.take(strconv.Itoa(i), now)
		if len(m.paid) > maxCounted {
			t.Fatalf("%d are counted", len(m.paid))
		}
	}
	for _, bad := range []Config{{Limits: Limits{PerPeer: -1}}, {Limits: Limits{Rate: Rate{Amount: 1}}}, {Limits: Limits{PerPrincipal: -1}}} {
		if err := bad.check(); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
