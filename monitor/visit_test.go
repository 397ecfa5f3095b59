package monitor

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cofferdam/wire"
)

// visited is an established connection of the policy x, from front to back, whose
// wire connections are played too.
type visited struct {
	*lab
	front, back         *Env
	frontWire, backWire *peer
	near, far           *net.TCPConn
}

func visitOf(t testing.TB, x meeting) visited {
	t.Helper()
	v := visited{lab: newLab(t, x.policy(t))}
	in := newInside(t)
	v.front, v.back = v.admit("front", "front-1"), v.admit("back", "back-1")
	v.back.Listening(in.dial)
	v.frontWire, v.backWire = v.connect(v.front), v.connect(v.back)
	v.near = relayed(t, v.front, "back", 9000)()
	v.far = in.accept(t)
	return v
}

// up is to raise to alice's, by force.
func up(t testing.TB) wire.Ask {
	return wire.Ask{Label: aLabel(t, "alice %% True"), Mode: wire.ModeForce}
}

// Who connects is compared with the labels of the port; a refusal is a connection that
// ends, and the whole of why is in the log.
func TestWhoMayConnect(t *testing.T) {
	for _, tt := range []struct {
		name string
		meeting
		want string // a part of the refusal, "" for none
	}{
		{"both public", meeting{}, ""},
		{"both at one label", meeting{front: "alice %% alice", back: "alice %% alice"}, ""},
		{"secret to public", meeting{front: "alice %% True"}, "label ⊑ object"},
		{"public to secret", meeting{back: "alice %% True"}, "object ⊑ clearance"},
		{"below a label that it may read", meeting{front: "True %% True < alice %% True", back: "alice %% True"}, "object ⊑ label"},
		{"not vouched for", meeting{front: "True %% alice < True %% True"}, "object ⊑ label"},
		{"vouched for by the grant", meeting{front: "True %% alice < True %% True", frontOwns: "alice", in: "alice"}, ""},
		{"released by the grant", meeting{front: "alice %% True", frontOwns: "alice", out: "alice"}, ""},
		{"release does not vouch", meeting{front: "alice %% alice < alice %% True", frontOwns: "alice", out: "alice"}, "object ⊑ label"},
		{"to who releases", meeting{front: "True %% True < alice %% True", back: "alice %% True", backOwns: "alice", request: "alice %% True", answer: "True %% True"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, tt.policy(t))
			in := newInside(t)
			l.admit("back", "back-1").Listening(in.dial)
			near := relayed(t, l.admit("front", "front-1"), "back", 9000)()
			io.WriteString(near, "request")
			if tt.want == "" {
				far := in.accept(t)
				wantBytes(t, far, "request")
				io.WriteString(far, "answer")
				wantBytes(t, near, "answer")
				return
			}
			wantEnd(t, near)
			if all := l.decisions(); len(all) != 1 || all[0].Verdict != "deny" || !strings.Contains(all[0].Rule, tt.want) || all[0].Labels == nil {
				t.Errorf("recorded %+v, want %q", all, tt.want)
			}
		})
	}
}

// A raise names the connections that it would cut. With force, what was written
// before arrives, then the end; what is written after does not; and what the other
// side writes still does.
func TestARaiseCutsWhatItsProgramSays(t *testing.T) {
	v := visitOf(t, meeting{front: "True %% True < alice %% True"})
	io.WriteString(v.near, "first")
	wantBytes(t, v.far, "first")
	soft := up(t)
	soft.Mode = 0
	v.frontWire.fails(wire.OpRaise, soft, wire.Label, "connection to back:9000")
	io.WriteString(v.near, "second")
	wantBytes(t, v.far, "second")
	io.WriteString(v.near, "third")
	time.Sleep(10 * time.Millisecond) // it is on its way, and nobody reads it yet
	v.frontWire.does(wire.OpRaise, up(t))
	io.WriteString(v.near, "SECRET")
	wantBytes(t, v.far, "third")
	wantEnd(t, v.far)
	io.WriteString(v.far, "still heard")
	wantBytes(t, v.near, "still heard")
	if _, err := v.near.Write(make([]byte, 8<<20)); err != nil {
		t.Errorf("its writers see that it is cut: %v", err)
	}
	v.far.Close()
	wantEnd(t, v.near) // who is above may know of who is below
	v.near.Close()
	eventually(t, "the relay is gone", func() bool { return relaysOf(v.front)+relaysOf(v.back) == 0 })
}

// Once its writer has risen, nobody who was connected with it sees whether it reads,
// closes, resets, or ends.
func TestWhoIsAliveAboveIsNotSeen(t *testing.T) {
	for name, does := range map[string]func(v visited){
		"reads":   func(v visited) { go io.Copy(io.Discard, v.near) },
		"idles":   func(visited) {},
		"closes":  func(v visited) { v.near.Close() },
		"resets":  func(v visited) { v.near.SetLinger(0); v.near.Close() },
		"ends":    func(v visited) { v.m.Remove(v.front) },
		"is gone": func(v visited) { v.near.Close(); v.m.Remove(v.front) },
	} {
		t.Run(name, func(t *testing.T) {
			v := visitOf(t, meeting{front: "True %% True < alice %% True"})
			io.WriteString(v.near, "low")
			v.frontWire.does(wire.OpRaise, up(t))
			does(v)
			wantBytes(t, v.far, "low")
			wantEnd(t, v.far)
			chunk := make([]byte, 64<<10)
			for range 2048 { // far more than all the buffers on the way
				if _, err := v.far.Write(chunk); err != nil {
					t.Fatalf("the other side sees it: %v", err)
				}
			}
		})
	}
}

// The same for who was connected to.
func TestARaiseOfTheCallee(t *testing.T) {
	for name, does := range map[string]func(v visited){
		"goes on": func(v visited) { go io.Copy(io.Discard, v.far) },
		"closes":  func(v visited) { v.far.Close() },
		"ends":    func(v visited) { v.m.Remove(v.back) },
	} {
		t.Run(name, func(t *testing.T) {
			v := visitOf(t, meeting{back: "True %% True < alice %% True"})
			io.WriteString(v.far, "low")
			time.Sleep(10 * time.Millisecond)
			soft := up(t)
			soft.Mode = 0
			v.backWire.fails(wire.OpRaise, soft, wire.Label, "connection from front to port 9000")
			v.backWire.does(wire.OpRaise, up(t))
			io.WriteString(v.far, "SECRET")
			does(v)
			wantBytes(t, v.near, "low")
			wantEnd(t, v.near)
			chunk := make([]byte, 64<<10)
			for range 512 {
				if _, err := v.near.Write(chunk); err != nil {
					t.Fatalf("the caller sees it: %v", err)
				}
			}
			// And nobody is led there any more, as if it were not there.
			connect := relayed(t, v.front, "back", 9000)
			c := connect()
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a new connection: %v, want to wait", err)
			}
		})
	}
}

// Whoever lowers its label may not hear any more what is above it.
func TestLoweringEndsWhatIsHeard(t *testing.T) {
	v := visitOf(t, meeting{front: "alice %% True", back: "alice %% True", frontOwns: "alice"})
	down := wire.Ask{Label: aLabel(t, "True %% True"), Out: aFormula(t, "alice")}
	v.frontWire.fails(wire.OpLower, down, wire.Label, "connection to back:9000, what it is answered")
	down.Mode = wire.ModeForce
	v.frontWire.does(wire.OpLower, down)
	wantEnd(t, v.near)
	wantEnd(t, v.far)
}

// A privilege that is revoked cuts what was said with it.
func TestRevokedPrivilegeCuts(t *testing.T) {
	x := meeting{front: "alice %% True", frontOwns: "alice", out: "alice"}
	v := visitOf(t, x)
	io.WriteString(v.near, "x")
	wantBytes(t, v.far, "x")
	v.front.flow.mu.Lock()
	v.front.flow.power.owns, v.front.flow.power.given = aFormula(t, "True"), aFormula(t, "True")
	v.front.flow.mu.Unlock()
	v.front.cutUnowned()
	wantEnd(t, v.far)
}

// However a raise falls into a stream: of what is written after it nothing arrives,
// and what was there before is not torn.
func TestRaiseWhileItStreams(t *testing.T) {
	const rounds = 30
	for round := range rounds {
		v := visitOf(t, meeting{front: "True %% True < alice %% True"})
		var writers sync.WaitGroup
		raised := make(chan struct{})
		writers.Go(func() { // low bytes count up; high ones are all 0xff
			block := make([]byte, 251*64)
			for i := range block {
				block[i] = byte(i % 251)
			}
			high := bytes.Repeat([]byte{0xff}, len(block))
			for n := 0; ; n++ {
				select {
				case <-raised:
					for range 16 {
						v.near.Write(high)
					}
					v.near.CloseWrite()
					return
				default:
					v.near.Write(block)
				}
			}
		})
		got := make(chan []byte)
		go func() {
			all, _ := io.ReadAll(v.far)
			got <- all
		}()
		time.Sleep(time.Duration(round) * 200 * time.Microsecond)
		v.frontWire.does(wire.OpRaise, up(t))
		close(raised)
		writers.Wait()
		for i, b := range <-got {
			if b != byte(i%251) {
				t.Fatalf("round %d: byte %d is %#x, want %#x", round, i, b, byte(i%251))
			}
		}
	}
}
