package monitor

import (
	"context"
	"strings"
	"testing"
	"time"

	"cofferdam/wire"
)

// A check is a call by monitor of which nothing but whether it failed is looked at, and
// which whoever does not answer, or ends, cannot prolong.
func TestCheck(t *testing.T) {
	l := newLab(t, bank())
	e, p := l.server("bank", "bank-1", "look")
	checked := func(wait time.Duration, turn int) chan string {
		said := make(chan string, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			defer cancel()
			said <- asText(e.Check(ctx, "look", turn))
		}()
		return said
	}
	asked := func(p *peer) wire.Frame {
		f := p.next()
		who, err := wire.ParseIdentity(f.CallerBytes)
		if err != nil || f.Op != wire.OpCall || who.Service != "monitor" || who.Instance != "" || len(f.Body) != 0 || string(f.NameBytes) != "look" || f.Call == 0 {
			t.Errorf("checked by %v with %+v, %v", who, f, err)
		}
		return f
	}
	for _, tt := range []struct {
		code wire.Code
		want string
	}{
		{wire.OK, "well"},
		{wire.Failed, `it answered "failed"`},
		{wire.Interrupted, `it answered "failed"`}, // which is not its to say
	} {
		said := checked(patience, 0)
		p.send(wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: asked(p).ID, Code: tt.code}, Body: []byte("x")})
		if got := <-said; got != tt.want {
			t.Errorf("answered %v: %s, want %s", tt.code, got, tt.want)
		}
	}
	// One that is not answered is withdrawn, and an answer that comes then is nobody's.
	said := checked(time.Millisecond, 0)
	late := asked(p).ID
	if got := <-said; got != "no answer to look" {
		t.Errorf("without an answer: %s", got)
	}
	if f := p.next(); f.Op != wire.OpCancel || f.ID != late {
		t.Errorf("after the deadline: %+v, want that it is withdrawn", f)
	}
	p.send(wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: late}})
	// Each connection has its turn.
	second := l.connect(e)
	second.serve("look")
	eventually(t, "both serve", func() bool { return len(e.answerers(e.self.methods["look"])) == 2 })
	said = checked(patience, 1)
	asked(second)
	second.nc.Close()
	if got := <-said; got != errLost.Error() {
		t.Errorf("asked on a connection that ends: %s", got)
	}
	eventually(t, "one serves", func() bool { return len(e.answerers(e.self.methods["look"])) == 1 })
	for range 3 { // the one that there is
		said = checked(patience, 1)
		p.send(wire.Frame{Header: wire.Header{Op: wire.OpReply, ID: asked(p).ID}})
		if got := <-said; got != "well" {
			t.Errorf("the other one: %s", got)
		}
	}
	p.nc.Close()
	eventually(t, "nobody serves", func() bool { return len(e.answerers(e.self.methods["look"])) == 0 })
	if got := <-checked(patience, 0); !strings.HasPrefix(got, "nothing of it answers") {
		t.Errorf("asked when nobody serves: %s", got)
	}
	for _, d := range l.decisions() {
		if d.Op == "call" {
			t.Errorf("a check was recorded as a decision: %+v", d)
		}
	}
}

func asText(err error) string {
	if err == nil {
		return "well"
	}
	return err.Error()
}
