package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// maxIdleBytes is what a connection may cost the gateway that no request is on, with what the others have
// left that were made in the same second.
const maxIdleBytes = 32 << 10

// Connections that have carried a request and wait cost little: no buffers, and no connection to a service after a second.
// COFFERDAM_TEST_IDLE is how many there are.
func TestIdleConnections(t *testing.T) {
	n := 400
	if text := os.Getenv("COFFERDAM_TEST_IDLE"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	_, number, outside, socket := sides(t)
	pid := role(t, Config{
		Outside:  true,
		Services: map[string]int{"localhost": number},
		Routes:   []Route{{Path: "/", To: "localhost"}},
		Limits:   Limits{Connections: 2 * n, PerPeer: 2 * n},
	}, socket)
	ask := func(c net.Conn) {
		io.WriteString(c, get("/"))
		if got := receive(t, bufio.NewReader(c)); got.text != "from static" {
			t.Fatalf("%d %q, %v", got.status(), got.text, got.err)
		}
	}
	// Whatever there is once is there already.
	for range 50 {
		c := dial(t, outside)
		ask(c)
		c.Close()
	}
	before := resident(t, pid)
	began := time.Now()
	all := make([]net.Conn, n)
	for i := range all {
		all[i] = dial(t, outside)
		all[i].SetDeadline(time.Now().Add(time.Minute))
		ask(all[i])
	}
	took := time.Since(began)
	time.Sleep(keptFor + 500*time.Millisecond)
	each := (resident(t, pid) - before) / n
	t.Logf("%d idle connections take %d bytes each (made in %v)", n, each, took)
	if each > maxIdleBytes && !testing.Short() { // short is what runs under the race detector, which takes more
		t.Errorf("%d bytes for each of %d idle connections, want at most %d", each, n, maxIdleBytes)
	}
	if descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err != nil || len(descriptors) > n+40 {
		t.Errorf("%d descriptors for %d connections of clients, %v", len(descriptors), n, err)
	}
	for _, c := range all[:min(20, n)] {
		ask(c) // it is still there
	}
}

// resident is how many bytes of memory of its own a process has.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no RssAnon")
	return 0
}
