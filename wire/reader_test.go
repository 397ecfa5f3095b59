package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"
)

func call(id uint64, body []byte) []byte {
	return AppendFrame(nil, &Frame{
		Header:      Header{Op: OpCall, ID: id, Timeout: time.Second, Call: 7},
		NameBytes:   []byte("bank.balance"),
		CallerBytes: []byte("caller"),
		Body:        body,
	})
}

// Frames of all sizes come out as they went in, however the stream is cut.
func TestReaderSizes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var bodies [][]byte
	for _, n := range []int{0, 1, 64, 4000, 4096, 70_000, 0, 65_536, 3, MaxBody, 5, MaxBody, 100} {
		body := make([]byte, n)
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		bodies = append(bodies, body)
		stream = append(stream, call(uint64(n), body)...)
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole":     func(r io.Reader) io.Reader { return r },
		"halves":    iotest.HalfReader,
		"one byte":  iotest.OneByteReader,
		"err early": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(wrap(bytes.NewReader(stream)))
			for i, body := range bodies {
				f, err := r.Next()
				if err != nil {
					t.Fatalf("frame %d: Next() = %v", i, err)
				}
				if f.ID != uint64(len(body)) || f.Timeout != time.Second || f.Call != 7 ||
					string(f.NameBytes) != "bank.balance" || string(f.CallerBytes) != "caller" || !bytes.Equal(f.Body, body) {
					t.Errorf("frame %d: got %v with %d bytes, want %d bytes", i, f.Header, len(f.Body), len(body))
				}
				if want := call(uint64(len(body)), body); !bytes.Equal(AppendFrame(nil, &f), want) {
					t.Errorf("frame %d: it is not what was sent", i)
				}
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("Next() at the end = %v, want %v", err, io.EOF)
			}
			if len(r.buf) > keepBytes {
				t.Errorf("%d bytes kept after the last frame, want at most %d", len(r.buf), keepBytes)
			}
		})
	}
}

func TestReaderBuffered(t *testing.T) {
	one := call(1, nil)
	r := NewReader(bytes.NewReader(append(one, one[:5]...)))
	if _, err := r.Next(); err != nil || r.Buffered() != 5 {
		t.Errorf("after Next() = %v, Buffered() = %d, want 5", err, r.Buffered())
	}
}

func TestReaderTruncated(t *testing.T) {
	whole := call(1, []byte("body"))
	for n := 1; n < len(whole); n++ {
		if _, err := NewReader(bytes.NewReader(whole[:n])).Next(); err != io.ErrUnexpectedEOF {
			t.Errorf("Next() of %d of %d bytes = %v, want %v", n, len(whole), err, io.ErrUnexpectedEOF)
		}
	}
}

// A malformed frame is the last: what follows it is never looked at.
func TestReaderMalformedIsFinal(t *testing.T) {
	stream := call(1, nil)
	stream[22] = 2 // flags
	r := NewReader(bytes.NewReader(append(stream, call(2, nil)...)))
	for range 2 {
		if _, err := r.Next(); !errors.Is(err, ErrMalformed) {
			t.Errorf("Next() = %v, want %v", err, ErrMalformed)
		}
	}
}

// A header that announces a megabyte does not by itself take a megabyte.
func TestReaderMemoryFollowsData(t *testing.T) {
	whole := call(1, make([]byte, MaxBody))
	for _, sent := range []int{HeaderSize, 5000, 40_000, 70_000, 100_000, 250_000, 300_000, 700_000} {
		for _, size := range []int{100, 30_000, MaxBody} {
			for _, shared := range []bool{false, true} {
				r, lent := NewReader(&pieces{whole[:sent], size}), make([]byte, keepBytes)
				if shared {
					r.Share(new(Buffers))
					r.Lend(lent)
				}
				if _, err := r.Next(); err != io.ErrUnexpectedEOF {
					t.Fatalf("Next() = %v, want %v", err, io.ErrUnexpectedEOF)
				}
				if most := 4 * max(sent, startBytes); len(r.buf) > most && !r.lent {
					t.Errorf("%d bytes held for %d sent, want at most %d", len(r.buf), sent, most)
				}
			}
		}
	}
}

type timeouts struct {
	io.Reader
	n int
}

func (r *timeouts) Read(b []byte) (int, error) {
	if r.n++; r.n%2 == 1 {
		return 0, iotest.ErrTimeout
	}
	return r.Reader.Read(b)
}

func TestReaderResumesAfterTimeout(t *testing.T) {
	r := NewReader(&timeouts{Reader: iotest.HalfReader(bytes.NewReader(call(9, make([]byte, 10_000))))})
	for range 1000 {
		f, err := r.Next()
		if err == iotest.ErrTimeout {
			continue
		}
		if err != nil || f.ID != 9 || len(f.Body) != 10_000 {
			t.Errorf("Next() = %v, %v, want frame 9 with 10000 bytes", f.Header, err)
		}
		return
	}
	t.Error("no frame after 1000 timeouts")
}

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

func TestReaderNoProgress(t *testing.T) {
	if _, err := NewReader(silent{}).Next(); err != io.ErrNoProgress {
		t.Errorf("Next() = %v, want %v", err, io.ErrNoProgress)
	}
}

func TestNoAllocation(t *testing.T) {
	frame := call(1, make([]byte, 64))
	loop := &looped{b: frame}
	r := NewReader(loop)
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		dst = AppendFrame(dst[:0], &f)
	}); n != 0 {
		t.Errorf("%v allocations for a small frame, want 0", n)
	}
}

// looped repeats b for ever.
type looped struct {
	b  []byte
	at int
}

func (l *looped) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	l.at = (l.at + n) % len(l.b)
	return n, nil
}

// What was kept stays as it was, whatever is read then, be it large or small.
func TestReaderKeep(t *testing.T) {
	var stream []byte
	sizes := []int{64 << 10, 64 << 10, 10, 20 << 10, 0, 60 << 10, MaxBody, 64 << 10, 17 << 10, 1}
	for i, n := range sizes {
		stream = append(stream, call(uint64(i), bytes.Repeat([]byte{byte(i)}, n))...)
	}
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(stream), "in pieces": &pieces{stream, 30_000}} {
		reader := NewReader(r)
		var kept [][]byte
		for range sizes {
			f, err := reader.Next()
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, reader.Keep(f.Body))
		}
		for i, n := range sizes {
			if !bytes.Equal(kept[i], bytes.Repeat([]byte{byte(i)}, n)) || cap(kept[i]) > 2*n+64 {
				t.Errorf("%s: body %d has %d bytes, room for %d, want %d of its own", name, i, len(kept[i]), cap(kept[i]), n)
			}
		}
	}
}

// pieces reads so many bytes at a time.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// A buffer that is lent is given back, unless much of a frame is in it; what was read goes on
// in either case.
func TestReaderLent(t *testing.T) {
	for _, tt := range []struct {
		body, sent int
		kept       bool
	}{{10, 20, false}, {64 << 10, 100, false}, {64 << 10, 20 << 10, true}, {MaxBody, 68 << 10, false}, {64 << 10, 16 << 10, false}} {
		raw := call(7, bytes.Repeat([]byte("x"), tt.body))
		in := &inTwo{first: raw[:tt.sent], second: raw[tt.sent:]}
		r, buf := NewReader(in), make([]byte, keepBytes)
		r.Lend(buf)
		if _, err := r.Next(); err != errLater {
			t.Fatalf("%v: Next = %v, want %v", tt, err, errLater)
		}
		if kept := r.GiveBack(); kept != tt.kept {
			t.Errorf("%v: GiveBack = %v", tt, kept)
		}
		if !tt.kept {
			clear(buf)
		}
		other := make([]byte, keepBytes)
		r.Lend(other) // nothing is lent to who has something
		if f, err := r.Next(); err != nil || len(f.Body) != tt.body || bytes.Contains(f.Body, []byte{0}) {
			t.Errorf("%v: then Next = %d bytes, %v", tt, len(f.Body), err)
		}
		if r.GiveBack() {
			t.Errorf("%v: a buffer with nothing in it is kept", tt)
		}
		if r.buf != nil {
			t.Errorf("%v: there is a buffer of %d bytes between frames", tt, len(r.buf))
		}
	}
}

var errLater = errors.New("later")

// inTwo reads the second part after an error.
type inTwo struct {
	first, second []byte
	said          bool
}

func (in *inTwo) Read(b []byte) (int, error) {
	from := &in.first
	if len(in.first) == 0 {
		if from = &in.second; !in.said {
			in.said = true
			return 0, errLater
		}
	}
	n := copy(b, *from)
	*from = (*from)[n:]
	return n, nil
}

// After a frame that was larger than what is lent, that is used again.
func TestReaderLentAfterALargeFrame(t *testing.T) {
	raw := append(call(1, make([]byte, MaxBody)), call(2, []byte("x"))...)
	r, buf := NewReader(&pieces{raw, 50_000}), make([]byte, keepBytes)
	for id := range uint64(2) {
		r.Lend(buf)
		if f, err := r.Next(); err != nil || f.ID != id+1 {
			t.Fatalf("Next = %v, %v", f.ID, err)
		}
		if large := id == 0; r.lent == large {
			t.Errorf("after frame %d the buffer is lent: %v", id+1, r.lent)
		}
	}
}
