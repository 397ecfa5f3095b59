package monitor

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"cofferdam/wire"
)

// BenchmarkQuiet is what 10,000 connections that say nothing cost us: memory for each, and the processor
// time of a second. Both ends of each are in this process, and do nothing; so do
// those of as many wire connections.
func BenchmarkQuiet(b *testing.B) {
	for _, kind := range []string{"relayed", "handed", "wire"} {
		b.Run(kind, func(b *testing.B) { quietly(b, kind) })
	}
}

func quietly(b *testing.B, kind string) {
	total := 10_000
	if kind == "wire" {
		total = MaxConnsInAll
	}
	var limit syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	total = min(total, (int(limit.Max)-2000)/5) // that there are descriptors for
	limit.Cur = limit.Max
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	l, in := newLab(b, direct(bank())), newInside(b)
	bankEnv := l.admit("bank", "bank-1")
	bankEnv.Hands(in.dial)
	bankEnv.Listening(in.dial)
	var far []net.Conn
	go func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			far = append(far, c)
		}
	}()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var near []io.Closer
	made := 0
	for i := 0; made < total; i++ {
		front := l.admit("front", fmt.Sprint("front-", i))
		p := l.connect(front)
		byName := listen(b)
		go front.Relay(byName, "bank", 9000)
		each := min(MaxRelays, total-made)
		if kind == "wire" {
			each = min(MaxConns-1, total-made)
		}
		for range each {
			switch kind {
			case "relayed":
				c, err := net.Dial("tcp", byName.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				c.Write([]byte("x")) // it has been used
				near = append(near, c)
			case "handed":
				c, f := p.dialled(p.dial("bank:9000", wire.Dial{}))
				if c == nil {
					b.Fatal(f.Code)
				}
				c.Write([]byte("x"))
				near = append(near, c)
			case "wire":
				near = append(near, l.connect(front).nc)
			}
		}
		made += each
	}
	eventually(b, "all are there", func() bool { return kind == "wire" || len(bankEnv.inboundNow()) == total })
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := float64(after.HeapInuse+after.StackInuse) - float64(before.HeapInuse+before.StackInuse)
	b.ResetTimer()
	began, cpu := time.Now(), cpuTime()
	for b.Loop() {
		time.Sleep(time.Second)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(total), "connections")
	b.ReportMetric(used/float64(total), "bytes/connection")
	b.ReportMetric((cpuTime()-cpu).Seconds()*1e6/time.Since(began).Seconds(), "µs-cpu/s")
	for _, c := range near {
		c.Close()
	}
	for _, c := range far {
		c.Close()
	}
}

func (e *Env) inboundNow() []link {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []link
	for l := range e.inbound {
		all = append(all, l)
	}
	return all
}
