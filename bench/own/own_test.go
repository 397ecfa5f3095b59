package own

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	samples := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, tt := range []struct{ q, want float64 }{{0, 1}, {0.5, 6}, {0.99, 10}, {1, 10}} {
		if got := Quantile(samples, tt.q); got != tt.want {
			t.Errorf("Quantile(1 … 10, %v) = %v, want %v", tt.q, got, tt.want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("Quantile of nothing = %v", got)
	}
	if got := Median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("Median(3, 1, 2) = %v", got)
	}
}

// TestRate: as often as was asked for, however many share the work.
func TestRate(t *testing.T) {
	var n atomic.Int64
	r, err := Rate(7, 100, time.Millisecond, func(int) error { n.Add(1); return nil })
	if err != nil || n.Load() != 100 || len(r.Samples) != 100 || r.Value <= 0 {
		t.Errorf("Rate did it %d times and has %d samples, value %v, error %v; want 100", n.Load(), len(r.Samples), r.Value, err)
	}
	wrong := errors.New("wrong")
	if _, err := Rate(3, 1000, time.Millisecond, func(w int) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("Rate of what fails gives %v", err)
	}
}

// TestTimesWarmUp: what warms up is not counted.
func TestTimesWarmUp(t *testing.T) {
	n := 0
	r, err := Times(20, time.Millisecond, func() error { n++; return nil })
	if err != nil || n != 22 || len(r.Samples) != 20 {
		t.Errorf("Times did it %d times and has %d samples, error %v; want 22 and 20", n, len(r.Samples), err)
	}
}

// serving has a function serve one connection, and gives its address.
func serving(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		serve(c)
	}()
	return l.Addr().String()
}

// TestBulkLooks: a relay that loses, adds or changes bytes has no figure.
func TestBulkLooks(t *testing.T) {
	all := pattern()
	for name, send := range map[string]func(c net.Conn, want int){
		"one byte less":    func(c net.Conn, want int) { c.Write(all[:want-1]) },
		"one byte more":    func(c net.Conn, want int) { c.Write(all[:want+1]) },
		"one byte skipped": func(c net.Conn, want int) { c.Write(all[1 : want+1]) },
		"zeros":            func(c net.Conn, want int) { c.Write(make([]byte, want)) },
	} {
		addr := serving(t, func(c net.Conn) {
			var want uint64
			if err := binary.Read(c, binary.LittleEndian, &want); err != nil {
				t.Error(err)
			}
			send(c, int(want))
		})
		if r, err := bulk(addr, 100_000); err == nil {
			t.Errorf("%s: %v GB/s", name, r.Value)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serveBulk(l)
	if r, err := bulk(l.Addr().String(), 3_000_001); err != nil || r.Value <= 0 {
		t.Errorf("bulk of what is right gives %v, %v", r.Value, err)
	}
}

// TestPingLooks: an echo of something else has no figure either.
func TestPingLooks(t *testing.T) {
	addr := serving(t, func(c net.Conn) {
		buf := make([]byte, 64)
		io.ReadFull(c, buf)
		buf[63]++
		c.Write(buf)
	})
	if r, err := pings(addr, 1); err == nil {
		t.Errorf("a wrong echo took %v µs", r.Value)
	}
}

// TestWebLooks: nor has a proxy that answers something else.
func TestWebLooks(t *testing.T) {
	for name, head := range map[string]string{
		"another status": "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 528\r\n\r\n",
		"no length":      "HTTP/1.1 200 OK\r\n\r\n",
		"another page":   "HTTP/1.1 200 OK\r\nContent-Length: 528\r\n\r\n" + strings.Repeat("x", 528),
		"another length": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
	} {
		addr := serving(t, func(c net.Conn) {
			in := bufio.NewReader(c)
			for line := ""; line != "\r\n"; {
				var err error
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			io.WriteString(c, head)
		})
		if _, err := webLoad(addr, "x", 1, 1); err == nil {
			t.Errorf("%s is taken for an answer", name)
		}
	}
}

// TestExpect: what limits a host is said, and what was not measured is not.
func TestExpect(t *testing.T) {
	starts := []Figure{
		{Name: "start", Value: 2, P99: 5, Unit: "ms"}, {Name: "start-many", Value: 1260, Unit: "per s"}, {Name: "process", Value: 0.5, Unit: "ms"},
		{Name: "start-paced", Value: 2, Unit: "ms"}, {Name: "start-idle", Value: 10.2, Unit: "ms"},
	}
	for _, tt := range []struct {
		name       string
		machine    Machine
		degraded   []string
		figures    []Figure
		want, lack []string
	}{
		{
			"version 1", Machine{Cores: 2, Cgroup: "v1"}, nil, starts,
			[]string{"Some 1200 environments a second", "waits 8.2 ms more", "Starting many at once pays", "Isolation costs 1.5 ms"},
			[]string{"Others use", "A call takes", "lacks"},
		},
		{"version 2", Machine{Cores: 2, Cgroup: "v2"}, nil, starts, []string{"processors that slept"}, []string{"version 1"}},
		{"busy", Machine{Cores: 2, Load: 7}, []string{"landlock"}, nil, []string{"load 7.0 on 2 cores", "lacks landlock"}, []string{"environments a second"}},
		{
			"calls", Machine{Cores: 2}, nil,
			[]Figure{{Name: "call", Value: 100, Unit: "µs"}, {Name: "call-many", Value: 50_000}, {Name: "pair", Value: 50}},
			[]string{"a call is 2.0 times that", "waking another core is dear", "some 50000 a second"}, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said := strings.Join(Expect(tt.machine, tt.degraded, tt.figures), "\n")
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("Expect says\n%s\nand not %q", said, want)
				}
			}
			for _, lack := range tt.lack {
				if strings.Contains(said, lack) {
					t.Errorf("Expect says\n%s\nwith %q", said, lack)
				}
			}
		})
	}
}
