package monitor

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

const paceLimit = 200 * time.Millisecond

// pacedBank has a port with a deadline, and what it may reach itself.
func pacedBank() Policy {
	return Policy{
		Services: []Service{
			{Name: "bank", Ports: []int{9000}, Methods: []Method{{Name: "pay"}}},
			{Name: "front"},
			{Name: "inner", Ports: []int{9001}, Methods: []Method{{Name: "ask", Deadline: patience}}},
		},
		Grants: []Grant{
			{From: "front", Kind: KindConnect, To: "bank:9000", Rule: "r", Deadline: paceLimit},
			{From: "bank", Kind: KindConnect, To: "inner:9001", Rule: "r"},
			{From: "bank", Kind: KindCall, To: "inner.ask", Rule: "r"},
		},
	}
}

// paced is a connection with a deadline, of which the test is both ends.
type paced struct {
	*lab
	bank  *Env
	near  *net.TCPConn // who connected
	far   *net.TCPConn // the server
	more  func() (near, far *net.TCPConn)
	looks atomic.Int64
	seen  atomic.Value // called at each look, before anything is counted: a func()
}

func newPaced(t testing.TB) *paced {
	p := &paced{lab: newLab(t, pacedBank())}
	in := newInside(t)
	front := p.admit("front", "front-1")
	p.bank = p.admit("bank", "bank-1")
	ends := make(map[string]*net.TCPConn)
	p.seen.Store(func() {})
	p.bank.Watching(func(c net.Conn) (read int64, unread int, err error) {
		p.mu.Lock()
		theirs := ends[c.LocalAddr().String()]
		p.mu.Unlock()
		p.seen.Load().(func())()
		p.looks.Add(1)
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			return 0, 0, err
		}
		var info *unix.TCPInfo
		ctlErr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
		if raw, rawErr := theirs.SyscallConn(); err == nil && ctlErr == nil && rawErr == nil {
			ctlErr = raw.Control(func(fd uintptr) { unread, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		}
		if err = errors.Join(ctlErr, err); err != nil {
			return 0, 0, err
		}
		return int64(info.Bytes_acked) - int64(unread), unread, nil
	})
	p.bank.Listening(in.dial)
	connect := relayed(t, front, "bank", 9000)
	p.more = func() (near, far *net.TCPConn) {
		near = connect()
		far = in.accept(t)
		p.mu.Lock()
		ends[far.RemoteAddr().String()] = far
		p.mu.Unlock()
		return near, far
	}
	p.near, p.far = p.more()
	return p
}

func (p *paced) say(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.near, text); err != nil {
		p.t.Fatal(err)
	}
}

// lookedAt waits until it was looked at the connection for longer than its deadline lasts
// three times over.
func (p *paced) lookedAt() {
	p.t.Helper()
	from := p.looks.Load()
	eventually(p.t, "it is looked at", func() bool { return p.looks.Load() > from+(maxMisses+1)*looks })
}

// settled waits until there is no need to look.
func (p *paced) settled() {
	p.t.Helper()
	eventually(p.t, "it is looked at no longer", func() bool {
		n, _ := p.m.due()
		return p.looks.Load() > 0 && n == 0
	})
}

// Who is found that does not read, and who is not.
func TestPace(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(p *paced)
		want string // of why; "" for nobody
	}{
		{"reads nothing", func(p *paced) { p.say("hello") },
			"of what front-1 has sent to port 9000, 5 bytes were not read within 200ms, and nothing came from it"},
		{"reads nothing, and its client has said all", func(p *paced) { p.say("hello"); p.near.CloseWrite() }, "5 bytes were not read"},
		{"reads a part", func(p *paced) { p.say("hello"); wantBytes(p.t, p.far, "hel") }, "2 bytes were not read"},
		{"reads nothing of very much", func(p *paced) {
			p.near.SetDeadline(time.Time{})
			go p.near.Write(make([]byte, 64<<20))
		}, "were not read"},
		{"answered before", func(p *paced) {
			p.say("a")
			wantBytes(p.t, p.far, "a")
			io.WriteString(p.far, "b")
			wantBytes(p.t, p.near, "b")
			p.say("c")
		}, "1 bytes were not read"},
		{"has read all, and waits for more", func(p *paced) {
			p.say("hel")
			wantBytes(p.t, p.far, "hel")
			p.settled()
		}, ""},
		{"has read all, and not asked whether that is all", func(p *paced) {
			p.say("hel")
			p.near.CloseWrite()
			wantBytes(p.t, p.far, "hel")
			p.settled()
		}, ""},
		{"is sent nothing", func(p *paced) { time.Sleep(2 * paceLimit) }, ""},
		{"reads slowly", func(p *paced) {
			p.seen.Store(func() { p.far.Read(make([]byte, 1)) })
			p.say(strings.Repeat("x", 10*(maxMisses+1)*looks))
			p.lookedAt()
		}, ""},
		{"answers, and does not read on", func(p *paced) {
			// As one does that has enough to do with the first of what it was sent.
			p.seen.Store(func() { io.WriteString(p.far, "y") })
			go io.Copy(io.Discard, p.near)
			p.say("hello")
			p.lookedAt()
		}, ""},
		{"waits for its client to read", func(p *paced) {
			p.far.SetDeadline(time.Time{})
			go p.far.Write(make([]byte, 64<<20))
			p.say("hello")
			p.lookedAt()
		}, ""},
		{"its client goes", func(p *paced) {
			p.say("hello")
			p.near.SetLinger(0)
			p.near.Close()
			time.Sleep(2 * paceLimit)
		}, ""},
		{"says that it has said all", func(p *paced) {
			p.far.CloseWrite()
			wantEnd(p.t, p.near)
			p.say("hello")
			time.Sleep(2 * paceLimit)
		}, ""},
		{"one of its connections lies there", func(p *paced) {
			other, served := p.more()
			go io.Copy(served, served)
			go io.Copy(io.Discard, other)
			p.seen.Store(func() { io.WriteString(other, "x") }) // which is answered
			p.say("hello")
		}, "5 bytes were not read within 200ms, nor in the 2 times that before"},
		{"waits for a call of its own", func(p *paced) {
			c := p.connect(p.bank)
			c.ask(wire.OpCall, "inner.ask", 0, nil)
			p.server("inner", "inner-1", "ask")
			p.say("hello")
		}, "nor in the 2 times that before"},
		{"waits for a connection of its own", func(p *paced) {
			in := newInside(p.t)
			p.admit("inner", "inner-1").Listening(in.dial)
			out := relayed(p.t, p.bank, "inner", 9001)()
			io.WriteString(out, "question")
			wantBytes(p.t, in.accept(p.t), "question")
			p.say("hello")
		}, "nor in the 2 times that before"},
		{"was answered on a connection of its own", func(p *paced) {
			in := newInside(p.t)
			p.admit("inner", "inner-1").Listening(in.dial)
			out := relayed(p.t, p.bank, "inner", 9001)()
			io.WriteString(out, "question")
			other := in.accept(p.t)
			wantBytes(p.t, other, "question")
			io.WriteString(other, "answer")
			wantBytes(p.t, out, "answer")
			p.say("hello")
		}, "and nothing came from it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPaced(t)
			tt.do(p)
			if tt.want == "" {
				select {
				case why := <-p.spawner.unwell:
					t.Errorf("found: %s", why)
				default:
				}
				return
			}
			select {
			case why := <-p.spawner.unwell:
				if !strings.HasPrefix(why, "bank-1: unresponsive: ") || !strings.Contains(why, tt.want) {
					t.Errorf("found: %s, want %s", why, tt.want)
				}
			case <-time.After(patience):
				t.Errorf("nobody was found, want %s", tt.want)
			}
		})
	}
}

// A connection whose ends must not learn of each other any more gets nobody killed.
func TestPaceOfTheHidden(t *testing.T) {
	for name, hide := range map[string]func(r *relay) *side{
		"who connected": func(r *relay) *side { return r.near },
		"the server":    func(r *relay) *side { return r.far },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPaced(t)
			eventually(t, "it is there", func() bool {
				p.bank.mu.Lock()
				defer p.bank.mu.Unlock()
				for one := range p.bank.inbound {
					r := one.(*relay)
					r.mu.Lock()
					joined := r.far != nil
					r.mu.Unlock()
					if joined {
						hide(r).hidden.Store(true)
						return true
					}
				}
				return false
			})
			io.Copy(p.near, bytes.NewReader([]byte("hello")))
			time.Sleep(2 * paceLimit)
			select {
			case why := <-p.spawner.unwell:
				t.Errorf("found: %s", why)
			default:
			}
		})
	}
}
