package monitor

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cofferdam/wire"
)

// pattern is n bytes of which no two stretches are alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// What the kernel moves arrives as it was sent: both ways at a time, in pieces of any size, to readers that
// stop now and then, and with the ends of both directions.
func TestMovedAsSent(t *testing.T) {
	_, _, _, near, far := relayPair(t)
	ends := make(chan error, 4)
	send := func(c *net.TCPConn, b []byte) {
		for len(b) > 0 {
			n := min(1+rand.IntN(1<<uint(rand.IntN(22))), len(b))
			if _, err := c.Write(b[:n]); err != nil {
				ends <- err
				return
			}
			b = b[n:]
			if rand.IntN(8) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		ends <- c.CloseWrite()
	}
	receive := func(c *net.TCPConn, want []byte) {
		var got bytes.Buffer
		for {
			_, err := io.CopyN(&got, c, 1<<20)
			if err == io.EOF {
				break
			}
			if err != nil {
				ends <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d bytes came of %d, or not those that were sent", got.Len(), len(want))
		}
		ends <- nil
	}
	there, back := pattern(24<<20), pattern(24<<20+1)
	go send(near, there)
	go receive(far, there)
	go send(far, back)
	go receive(near, back)
	for range cap(ends) {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

// A stream that is cut while the kernel moves it ends with something that was sent before, all of it in order,
// and its reader sees no more than that it has ended. Who has risen writes on and sees nothing.
func TestMovedUntilCut(t *testing.T) {
	v := visitOf(t, meeting{front: "True %% True < alice %% True"})
	sent := pattern(64 << 20)
	wrote := make(chan error, 1)
	go func() {
		_, err := v.near.Write(sent)
		wrote <- err
	}()
	got := make([]byte, 4<<20)
	if _, err := io.ReadFull(v.far, got); err != nil {
		t.Fatal(err)
	}
	v.frontWire.does(wire.OpRaise, up(t))
	v.far.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(v.far)
	if err != nil {
		t.Errorf("the reader sees %v, want the end", err)
	}
	if got = append(got, rest...); len(got) >= len(sent) || !bytes.Equal(got, sent[:len(got)]) {
		t.Errorf("%d bytes came of %d, or not the first of them", len(got), len(sent))
	}
	if err := <-wrote; err != nil {
		t.Errorf("who has risen cannot write on: %v", err)
	}
}

// A reader that rises in the midst of much, and reads no more, does not have its writer wait: not for what is in the
// hose, nor for what would be next.
func TestHiddenReaderOfMuch(t *testing.T) {
	for range 20 {
		v := visitOf(t, meeting{front: "True %% True < alice %% True"})
		wrote := make(chan error, 1)
		go func() {
			_, err := v.far.Write(make([]byte, 64<<20))
			wrote <- err
		}()
		if _, err := io.ReadFull(v.near, make([]byte, rand.IntN(4<<20))); err != nil {
			t.Fatal(err)
		}
		v.frontWire.does(wire.OpRaise, up(t))
		select {
		case err := <-wrote:
			if err != nil {
				t.Fatalf("the writer sees %v", err)
			}
		case <-time.After(patience):
			t.Fatal("the writer waits for a reader that it may not know of")
		}
		v.m.Remove(v.front)
		v.m.Remove(v.back)
	}
}

// Its hose is let go of before anything else is read for it.
func TestHiddenReaderHasNoHose(t *testing.T) {
	v := visitOf(t, meeting{front: "True %% True < alice %% True"})
	there, here := tcpPair(t)
	from, err := newSide(here)
	if err != nil {
		t.Fatal(err)
	}
	to, err := newSide(v.near)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{from: from, to: to, moves: true, n: chunk, hose: newHose()}
	s.startLate()
	defer s.close()
	io.WriteString(there, "more")
	if n, err := s.take(); n != 4 || err != nil || s.hose != nil {
		t.Errorf("took %d bytes, %v, through a hose: %v", n, err, s.hose != nil)
	}
}

// Whoever waits for more, after much has come, keeps no hose; and of those whose readers do not read, no more have
// one than there may be.
func TestHosesAreFew(t *testing.T) {
	l, in := newLab(t, bank()), newInside(t)
	front, bankEnv := l.admit("front", "front-1"), l.admit("bank", "bank-1")
	bankEnv.Listening(in.dial)
	connect := relayed(t, front, "bank", 9000)
	near := connect()
	far := in.accept(t)
	for range 20 {
		b := pattern(1 << 20)
		go near.Write(b)
		wantBytes(t, far, string(b))
	}
	eventually(t, "it is at rest", func() bool { return hoses.Load() == 0 })

	for range maxHoses + 10 {
		c := connect()
		in.accept(t)
		go c.Write(make([]byte, 8<<20)) // as much as there is room for: nobody reads
	}
	var all []*hose
	for h := newHose(); h != nil; h = newHose() {
		all = append(all, h)
	}
	if n := hoses.Load(); n > maxHoses || len(all) > maxHoses {
		t.Errorf("%d hoses, want at most %d", n, maxHoses)
	}
	near.Write([]byte("and the others go on"))
	wantBytes(t, far, "and the others go on")
	for _, h := range all {
		h.close()
	}
	l.m.Remove(front)
	eventually(t, "all are gone", func() bool { return hoses.Load() == 0 })
}

// Where its user has as much in pipes as he may (fs.pipe-user-pages-soft) a hose is a page or two: what passes is the same.
func TestSmallHose(t *testing.T) {
	writer, near := tcpPair(t)
	far, reader := tcpPair(t)
	from, err := newSide(near)
	if err != nil {
		t.Fatal(err)
	}
	to, err := newSide(far)
	if err != nil {
		t.Fatal(err)
	}
	h := newHose()
	if h == nil {
		t.Fatal("no hose is to be had")
	}
	if _, err := unix.FcntlInt(uintptr(h.in), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	s := &stream{from: from, to: to, moves: true, n: chunk, hose: h}
	ended := make(chan error, 1)
	go func() {
		ended <- s.run()
		far.CloseWrite()
	}()
	sent := pattern(8 << 20)
	go func() {
		writer.Write(sent)
		writer.CloseWrite()
	}()
	got, err := io.ReadAll(reader)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came of %d, %v, or not those that were sent", len(got), len(sent), err)
	}
	if err := <-ended; err != io.EOF {
		t.Errorf("it ended with %v", err)
	}
}

// A label that rises while all is full, the buffers of both sockets and the hose: what was sent by then comes as it was sent, as far as the
// monitor has room for it, and nothing of what is sent later.
func TestFullHoseIsCut(t *testing.T) {
	full := 0
	for range 4 {
		v := visitOf(t, meeting{front: "True %% True < alice %% True"})
		sent := pattern(64 << 20)
		got := make([]byte, 4<<20)
		began := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(v.far, got)
			began <- err
		}()
		v.near.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := v.near.Write(sent)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d bytes go to a reader that reads no more, and then %v", n, err)
		}
		if err := <-began; err != nil {
			t.Fatal(err)
		}
		if hoses.Load() == 1 {
			full++
		}
		v.frontWire.does(wire.OpRaise, up(t))
		v.near.SetWriteDeadline(time.Now().Add(patience))
		wrote := make(chan error, 1)
		go func() { // once that is read which was sent before
			_, err := v.near.Write(bytes.Repeat([]byte("secret "), 1<<20))
			wrote <- err
		}()
		v.far.SetReadDeadline(time.Now().Add(patience))
		rest, err := io.ReadAll(v.far)
		if got = append(got, rest...); err != nil || len(got) > n || !bytes.Equal(got, sent[:len(got)]) {
			t.Errorf("%d bytes came, %v, of %d, or not the first of them", len(got), err, n)
		}
		if err := <-wrote; err != nil {
			t.Errorf("who has risen cannot write on: %v", err)
		}
		eventually(t, "its hose is gone", func() bool { return hoses.Load() == 0 })
		v.m.Remove(v.front)
		v.m.Remove(v.back)
	}
	if full == 0 {
		t.Error("no hose was full")
	}
}
