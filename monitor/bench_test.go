package monitor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cofferdam/guard"
	"cofferdam/label"
	"cofferdam/sdk"
	"cofferdam/wire"
)

// BenchmarkCall64 measures a round trip of 64 bytes from one process through the
// monitor to another and back, beside one of the same frames between two
// processes that share a socket pair. The two are measured in turn; ratio is
// that of their medians. The others are the same of larger bodies.
func BenchmarkCall64(b *testing.B)   { benchCall(b, 64, 2000) }
func BenchmarkCall64K(b *testing.B)  { benchCall(b, 64<<10, 500) }
func BenchmarkCall256K(b *testing.B) { benchCall(b, 256<<10, 200) }
func BenchmarkCall1M(b *testing.B)   { benchCall(b, 1<<20, 50) }

func benchCall(b *testing.B, size, trips int) {
	l := newLab(b, bank())
	caller := startRole(b, fmt.Sprint("call ", size), socketOf(b, l.admit("front", "front-1")))
	startRole(b, "serve", socketOf(b, l.admit("bank", "bank-1")))
	here, there := pairOfFiles(b)
	direct := startRole(b, fmt.Sprint("direct-call ", size), here)
	startRole(b, "direct-serve", there)

	caller.measure(trips)
	direct.measure(trips) // both are warm
	var ours, theirs []float64
	for b.Loop() {
		ours = append(ours, caller.measure(trips))
		theirs = append(theirs, direct.measure(trips))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	o, d := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(o/1e3, "µs/call")
	b.ReportMetric(d/1e3, "µs/direct")
	b.ReportMetric(o/d, "ratio")
}

// BenchmarkCallPairs is how many calls a second there are between as many pairs of callers and
// servers, each in an environment and a process of its own, of which each caller makes one after
// the other, or 16 at a time.
func BenchmarkCallPairs(b *testing.B) {
	for _, at := range []int{1, 16} {
		for _, pairs := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("at-once=%d/pairs=%d", at, pairs), func(b *testing.B) { callPairs(b, pairs, at) })
		}
	}
}

func callPairs(b *testing.B, pairs, at int) {
	p := bank()
	for n := range pairs {
		name := fmt.Sprint("bank-", n)
		p.Services = append(p.Services, Service{Name: name, Methods: []Method{{Name: "balance"}}})
		p.Grants = append(p.Grants, Grant{From: "front", Kind: KindCall, To: name + ".balance", Rule: "m.yaml:1"})
	}
	l := newLab(b, p)
	var callers []*roleProcess
	for n := range pairs {
		name := fmt.Sprint("bank-", n)
		callers = append(callers, startRole(b, fmt.Sprint("calls ", at, " ", name), socketOf(b, l.admit("front", fmt.Sprint("front-", n)))))
		startRole(b, "serve", socketOf(b, l.admit(name, name)))
	}
	const trips = 4000
	round := func() {
		var all sync.WaitGroup
		for _, c := range callers {
			all.Go(func() { c.measure(trips) })
		}
		all.Wait()
	}
	round()
	before, began := cpuTime(), time.Now()
	b.ResetTimer()
	for b.Loop() {
		round()
	}
	calls := float64(b.N * pairs * trips)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(calls/time.Since(began).Seconds(), "calls/s")
	b.ReportMetric(float64(cpuTime()-before)/calls/1e3, "monitor-cpu-µs/call")
}

// BenchmarkIdle is what the connections of 10,000 environments take that say nothing, or of as many as there
// may be open files for: memory, and processor time in a second; beside the time that one call takes among them.
func BenchmarkIdle(b *testing.B) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		b.Fatal(err)
	}
	idle := min(10_000, int(files.Cur)/2-100)
	l := newLab(b, bank())
	_, server := l.server("bank", "bank-1", "balance")
	go server.echo()
	p := l.connect(l.admit("front", "front-0"))
	p.want(p.call("bank.balance", "x"), wire.OK, "x")
	var envs []*Env
	for n := range idle {
		e, err := l.m.Admit(wire.Identity{Service: "front", Instance: fmt.Sprint("front-", n+1)})
		if err != nil {
			b.Fatal(err)
		}
		envs = append(envs, e)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	// The other end is a descriptor and nothing else.
	before := heap()
	for _, e := range envs {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer syscall.Close(fds[1])
		f := os.NewFile(uintptr(fds[0]), "socket")
		nc, err := net.FileConn(f)
		f.Close()
		if err != nil {
			b.Fatal(err)
		}
		c, err := newConn(e, nc.(*net.UnixConn))
		if err != nil {
			b.Fatal(err)
		}
		c.begin()
	}
	after := heap()
	spent := cpuTime()
	time.Sleep(time.Second)
	spent = cpuTime() - spent
	for b.Loop() {
		p.want(p.call("bank.balance", "x"), wire.OK, "x")
	}
	b.ReportMetric(float64(after-before)/float64(idle), "B/connection")
	b.ReportMetric(float64(idle), "connections")
	b.ReportMetric(float64(spent.Microseconds()), "cpu-µs/s")
	b.StopTimer()
	for _, e := range envs {
		l.m.Remove(e)
	}
}

// BenchmarkCallInside is the monitor's own part of a call: its peers are
// goroutines that do next to nothing.
func BenchmarkCallInside(b *testing.B) { callInside(b, bank()) }

// BenchmarkCallLabelled is the same where both are at a label, which is asked about, and told with the
// call: what calls without labels do not pay.
func BenchmarkCallLabelled(b *testing.B) {
	p := bank()
	at := guard.State{Label: label.MustParse(`alice %% True`), Clearance: label.MustParse(`alice %% True`)}
	for i := range p.Services {
		if name := p.Services[i].Name; name == "front" || name == "bank" {
			p.Services[i].Flow.State = at
		}
	}
	p.Grants = slices.DeleteFunc(p.Grants, func(g Grant) bool { return g.To != "bank.balance" })
	p.Mailboxes, p.Door, p.Egress = nil, Door{}, Door{}
	callInside(b, p)
}

// BenchmarkCallTraced is the same of one that is traced, with its span kept, or not.
func BenchmarkCallTraced(b *testing.B) {
	for _, ratio := range []float64{0, 1} {
		b.Run(fmt.Sprintf("ratio=%v", ratio), func(b *testing.B) { callInside(b, tracing(bank(), ratio)) })
	}
}

func callInside(b *testing.B, policy Policy) {
	l := newLab(b, policy)
	_, server := l.server("bank", "bank-1", "balance")
	go server.echo()
	p := l.connect(l.admit("front", "front-1"))
	body := make([]byte, 64)
	frame := wire.Frame{Header: wire.Header{Op: wire.OpCall}, NameBytes: []byte("bank.balance"), Body: body}
	var buf []byte
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		frame.ID++
		buf = wire.AppendFrame(buf[:0], &frame)
		if _, err := p.nc.Write(buf); err != nil {
			b.Fatal(err)
		}
		if f, err := p.r.Next(); err != nil || f.ID != frame.ID || f.Code != wire.OK {
			b.Fatal(f, err)
		}
		if l.m.traces != nil && frame.ID%1024 == 0 {
			l.m.Spans(maxSpans) // as the door does, in time
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkRelayBulk measures how fast bytes pass a relay, beside a direct
// connection over the loopback; ratio is relayed to direct.
func BenchmarkRelayBulk(b *testing.B) {
	const bulk = 256 << 20
	l := newLab(b, bank())
	source := listen(b)
	go func() {
		chunk := make([]byte, 128<<10)
		for {
			c, err := source.Accept()
			if err != nil {
				return
			}
			for sent := 0; sent < bulk; sent += len(chunk) {
				if _, err := c.Write(chunk); err != nil {
					break
				}
			}
			c.Close()
		}
	}()
	l.admit("bank", "bank-1").Listening((&inside{Listener: source}).dial)
	relayed := listen(b)
	go l.admit("front", "front-1").Relay(relayed, "bank", 9000)
	buf := make([]byte, 128<<10)
	drain := func(ln net.Listener) float64 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		start, total := time.Now(), 0
		for {
			n, err := c.Read(buf)
			total += n
			if err == io.EOF && total == bulk {
				return float64(total) / time.Since(start).Seconds()
			}
			if err != nil {
				b.Fatal(total, err)
			}
		}
	}
	var ours, direct []float64
	for b.Loop() {
		ours = append(ours, drain(relayed))
		direct = append(direct, drain(source))
	}
	slices.Sort(ours)
	slices.Sort(direct)
	o, d := ours[len(ours)/2], direct[len(direct)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(o/1e9, "GB/s-relayed")
	b.ReportMetric(d/1e9, "GB/s-direct")
	b.ReportMetric(o/d, "ratio")
}

// socketOf is a connection of e for another process.
func socketOf(b *testing.B, e *Env) *os.File {
	here, there := socketpair(b)
	f, err := there.File()
	if err != nil {
		b.Fatal(err)
	}
	there.Close()
	go e.Serve(here)
	return f
}

func pairOfFiles(b *testing.B) (*os.File, *os.File) {
	x, y := socketpair(b)
	fx, err := x.File()
	if err != nil {
		b.Fatal(err)
	}
	fy, err := y.File()
	if err != nil {
		b.Fatal(err)
	}
	x.Close()
	y.Close()
	return fx, fy
}

// roleProcess is a child that measures on demand.
type roleProcess struct {
	b   *testing.B
	in  io.Writer
	out *bufio.Reader
}

// startRole starts a child that has f as its descriptor 3, and ends it with b.
func startRole(b *testing.B, role string, f *os.File) *roleProcess {
	cmd := child(b, role)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	b.Cleanup(func() { end(cmd, in) })
	return &roleProcess{b, in, bufio.NewReader(out)}
}

func end(cmd *exec.Cmd, in io.Closer) {
	in.Close()
	cmd.Process.Kill()
	cmd.Wait()
}

// measure lets the child make n round trips and returns their median in ns.
func (r *roleProcess) measure(n int) float64 {
	fmt.Fprintln(r.in, n)
	line, err := r.out.ReadString('\n')
	if err != nil {
		r.b.Fatal("child: ", err)
	}
	ns, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
	if err != nil {
		r.b.Fatal("child says: ", line)
	}
	return ns
}

// benchRole is what the children do.
func benchRole(role string) error {
	f := os.NewFile(3, "socket")
	nc, err := net.FileConn(f)
	if err != nil {
		return err
	}
	f.Close()
	ctx := context.Background()
	role, size, _ := strings.Cut(role, " ")
	n, _ := strconv.Atoi(size)
	body := bytes.Repeat([]byte("x"), n)
	switch role {
	case "calls":
		at, name, _ := strings.Cut(size, " ")
		n, _ := strconv.Atoi(at)
		return callMany(ctx, nc.(*net.UnixConn), n, name+".balance")
	case "serve":
		c, err := sdk.NewClient(ctx, nc.(*net.UnixConn))
		if err != nil {
			return err
		}
		return c.Serve(ctx, map[string]sdk.Handler{
			"balance": func(_ context.Context, _ sdk.Caller, body []byte) ([]byte, error) { return body, nil },
		})
	case "call":
		c, err := sdk.NewClient(ctx, nc.(*net.UnixConn))
		if err != nil {
			return err
		}
		return onDemand(func() error {
			got, err := c.Call(ctx, "bank.balance", body)
			if err == nil && !bytes.Equal(got, body) {
				err = fmt.Errorf("echo gave %q", got)
			}
			return err
		})
	case "write":
		return write(nc)
	case "write-back":
		return writeBack(nc)
	case "direct-serve":
		return echoFrames(nc)
	case "direct-call":
		return callDirect(nc, body)
	}
	return fmt.Errorf("no role %q", role)
}

// callMany makes calls, so many at a time.
func callMany(ctx context.Context, nc *net.UnixConn, at int, name string) error {
	c, err := sdk.NewClient(ctx, nc)
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("x"), 64)
	for {
		var n int
		if _, err := fmt.Scanln(&n); err != nil {
			return err
		}
		failed := make(chan error, at)
		var all sync.WaitGroup
		for range at {
			all.Go(func() {
				for range n / at {
					if got, err := c.Call(ctx, name, body); err != nil || !bytes.Equal(got, body) {
						failed <- fmt.Errorf("echo gave %q, %w", got, err)
						return
					}
				}
			})
		}
		all.Wait()
		select {
		case err := <-failed:
			return err
		default:
		}
		fmt.Println(0)
	}
}

func echoFrames(nc net.Conn) error {
	r := wire.NewReader(nc)
	var buf []byte
	for {
		f, err := r.Next()
		if err != nil {
			return err
		}
		f.Op, f.NameBytes = wire.OpReply, nil
		buf = wire.AppendFrame(buf[:0], &f)
		if _, err := nc.Write(buf); err != nil {
			return err
		}
	}
}

func callDirect(nc net.Conn, body []byte) error {
	r := wire.NewReader(nc)
	f := wire.Frame{Header: wire.Header{Op: wire.OpCall}, NameBytes: []byte("bank.balance"), Body: body}
	var buf []byte
	return onDemand(func() error {
		f.ID++
		buf = wire.AppendFrame(buf[:0], &f)
		if _, err := nc.Write(buf); err != nil {
			return err
		}
		got, err := r.Next()
		if err == nil && (got.ID != f.ID || !bytes.Equal(got.Body, f.Body)) {
			err = fmt.Errorf("echo gave %q", got.Body)
		}
		return err
	})
}

// onDemand reads how many round trips to make, and prints their median in ns.
func onDemand(trip func() error) error {
	for {
		var n int
		if _, err := fmt.Scanln(&n); err != nil {
			return err
		}
		ns := make([]float64, n)
		for i := range ns {
			start := time.Now()
			if err := trip(); err != nil {
				return err
			}
			ns[i] = float64(time.Since(start).Nanoseconds())
		}
		slices.Sort(ns)
		fmt.Println(ns[n/2])
	}
}

// BenchmarkMail64 measures a round trip of 64 bytes by mailbox: one process posts, the
// other receives and posts back, and the first receives. Beside it, in turn, is the
// same by a call; ratio is that of the medians.
func BenchmarkMail64(b *testing.B) {
	p := bank()
	p.Mailboxes = append(p.Mailboxes, Mailbox{Name: "answers", Owner: "front"})
	p.Grants = append(p.Grants, Grant{From: "bank", Kind: KindPost, To: "answers", Rule: "m.yaml:5"})
	l := newLab(b, p)
	caller := startRole(b, "call 64", socketOf(b, l.admit("front", "front-1")))
	bank := l.admit("bank", "bank-1")
	startRole(b, "serve", socketOf(b, bank))
	writer := l.admit("front", "front-2")
	l.m.policy.Load().mailboxes["answers"].readers = []*Env{writer}
	for _, e := range []*Env{writer, bank} {
		e.flow.posts = nil
	}
	sender := startRole(b, "write", socketOf(b, writer))
	startRole(b, "write-back", socketOf(b, bank))

	const trips = 2000
	sender.measure(trips)
	caller.measure(trips) // both are warm
	var mail, calls []float64
	for b.Loop() {
		mail = append(mail, sender.measure(trips))
		calls = append(calls, caller.measure(trips))
	}
	slices.Sort(mail)
	slices.Sort(calls)
	m, c := mail[len(mail)/2], calls[len(calls)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(m/1e3, "µs/mail")
	b.ReportMetric(c/1e3, "µs/call")
	b.ReportMetric(m/c, "ratio")
}

// BenchmarkMailInside is the monitor's own part of a message: a recv that waits, and a
// post that it gets, by peers that do next to nothing.
func BenchmarkMailInside(b *testing.B) {
	l := newLab(b, bank())
	front := l.admit("front", "front-1")
	front.flow.posts = nil
	from, to := newLetters(l.connect(front).nc), newLetters(l.connect(l.admit("bank", "bank-1")).nc)
	body := make([]byte, 64)
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		if err := errors.Join(to.receive("letters"), from.post("letters", body), from.accepted(), to.received(body)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkMailMany is for many messages under way: 32 puts and 32 takes of a shared
// mailbox at a time, by one connection each. cpu-ns is processor time of both
// sides and the monitor, for one message.
func BenchmarkMailMany(b *testing.B) {
	const window = 32
	p := bank()
	p.Grants = append(p.Grants, Grant{From: "bank", Kind: KindTake, To: "jobs", Rule: "m.yaml:5"})
	l := newLab(b, p)
	from, to := newLetters(l.connect(l.admit("front", "front-1")).nc), newLetters(l.connect(l.admit("bank", "bank-1")).nc)
	body := make([]byte, 64)
	// pipe does it n times, of which window are under way.
	pipe := func(n int, ask, answered func() error) error {
		for i := range n + window {
			if i < n {
				if err := ask(); err != nil {
					return err
				}
			}
			if i >= window {
				if err := answered(); err != nil {
					return err
				}
			}
		}
		return nil
	}
	done := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	go func() {
		done <- pipe(b.N, func() error { return to.send(wire.OpTake, time.Minute, wire.Ask{Name: "jobs"}) }, func() error { return to.received(body) })
	}()
	if err := pipe(b.N, func() error { return from.send(wire.OpPut, time.Minute, wire.Ask{Name: "jobs", Data: body}) }, from.accepted); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// letters is one who posts and receives, frame by frame.
type letters struct {
	nc  net.Conn
	r   *wire.Reader
	id  uint64
	buf []byte
	ask []byte
}

func newLetters(nc net.Conn) *letters { return &letters{nc: nc, r: wire.NewReader(nc)} }

func (x *letters) send(op wire.Op, timeout time.Duration, a wire.Ask) error {
	x.id++
	x.ask = a.Append(x.ask[:0], op)
	x.buf = wire.AppendFrame(x.buf[:0], &wire.Frame{Header: wire.Header{Op: op, ID: x.id, Timeout: timeout}, Body: x.ask})
	_, err := x.nc.Write(x.buf)
	return err
}

func (x *letters) post(to string, data []byte) error {
	return x.send(wire.OpPost, 0, wire.Ask{Name: to, Data: data})
}

func (x *letters) receive(of string) error {
	return x.send(wire.OpRecv, time.Minute, wire.Ask{Name: of})
}

// accepted reads the answer to a post.
func (x *letters) accepted() error {
	f, err := x.r.Next()
	if err == nil && (f.Code != wire.OK || len(f.Body) > 0) {
		err = fmt.Errorf("a post gave %v %q", f.Code, f.Body)
	}
	return err
}

// received reads the answer to a recv.
func (x *letters) received(want []byte) error {
	f, err := x.r.Next()
	if err != nil {
		return err
	}
	told, err := wire.ParseTold(f.Body)
	if err == nil && (f.Code != wire.OK || !bytes.Equal(told.Data, want)) {
		err = fmt.Errorf("a recv gave %v %q", f.Code, told.Data)
	}
	return err
}

// writeBack posts what it receives.
func writeBack(nc net.Conn) error {
	x := newLetters(nc)
	body := bytes.Repeat([]byte("x"), 64)
	for {
		if err := errors.Join(x.receive("letters"), x.received(body), x.post("answers", body), x.accepted()); err != nil {
			return err
		}
	}
}

// write makes round trips to who writes back.
func write(nc net.Conn) error {
	x := newLetters(nc)
	body := bytes.Repeat([]byte("x"), 64)
	return onDemand(func() error {
		if err := errors.Join(x.receive("answers"), x.post("letters", body)); err != nil {
			return err
		}
		for range 2 { // the answer may come before it is known that the message was accepted
			f, err := x.r.Next()
			if err != nil || f.Code != wire.OK || f.ID == x.id != (len(f.Body) == 0) {
				return fmt.Errorf("a round trip gave %v %v %q, %v", f.ID, f.Code, f.Body, err)
			}
		}
		return nil
	})
}
