package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"
)

// A header that is accepted is written back as the same bytes: it has one
// meaning, and none of its bytes is ignored.
func FuzzParseHeader(f *testing.F) {
	for _, b := range badFrames {
		f.Add(b.bytes)
	}
	for _, g := range goodFrames {
		f.Add(AppendFrame(nil, &g.frame))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			return
		}
		h, err := ParseHeader(b)
		if err != nil {
			return
		}
		again := make([]byte, HeaderSize)
		if h.Put(again); !bytes.Equal(again, b[:HeaderSize]) {
			t.Errorf("%x became %x", b[:HeaderSize], again)
		}
	})
}

// However a stream is cut into reads, it gives the same frames and the same
// end, and the frames written again are the stream.
func FuzzReader(f *testing.F) {
	var all []byte
	for _, g := range goodFrames {
		all = AppendFrame(all, &g.frame)
		f.Add(all)
	}
	f.Add(all[:len(all)-1])
	f.Add(append(all, badFrames[0].bytes...))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, err := drain(bytes.NewReader(b))
		if !bytes.HasPrefix(b, whole) {
			t.Errorf("%x was read as %x", b, whole)
		}
		if err == io.EOF != (len(whole) == len(b)) {
			t.Errorf("%d of %d bytes were frames, then %v", len(whole), len(b), err)
		}
		if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, ErrMalformed) {
			t.Errorf("Next() = %v", err)
		}
		bits, bitsErr := drain(iotest.OneByteReader(bytes.NewReader(b)))
		if !bytes.Equal(whole, bits) || (err == io.EOF) != (bitsErr == io.EOF) {
			t.Errorf("in one piece %x, %v; byte by byte %x, %v", whole, err, bits, bitsErr)
		}
	})
}

// drain reads all frames and writes them again.
func drain(from io.Reader) ([]byte, error) {
	r := NewReader(from)
	var out []byte
	for {
		f, err := r.Next()
		if err != nil {
			return out, err
		}
		out = AppendFrame(out, &f)
	}
}

// Fields that are accepted are written back as the same bytes.
func FuzzParseFields(f *testing.F) {
	addLists(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := ParseFields(b, func(key uint8, val []byte) error {
			again = AppendField(again, key, val)
			return nil
		})
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// A typed list that is accepted says the same when it is written and read
// again.
func FuzzLists(f *testing.F) {
	addLists(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := ParseIdentity(b); err == nil {
			if again, err := ParseIdentity(id.Append(nil)); err != nil || !reflect.DeepEqual(again, id) {
				t.Errorf("identity %+v became %+v, %v", id, again, err)
			}
		}
		if s, err := ParseSpawn(b); err == nil {
			if again, err := ParseSpawn(s.Append(nil)); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("spawn %+v became %+v, %v", s, again, err)
			}
		}
		if m, err := ParseMount(b); err == nil {
			if again, err := ParseMount(m.Append(nil)); err != nil || again != m {
				t.Errorf("mount %+v became %+v, %v", m, again, err)
			}
		}
		if e, err := ParseEnd(b); err == nil {
			if again, err := ParseEnd(e.Append(nil)); err != nil || again != e {
				t.Errorf("end %+v became %+v, %v", e, again, err)
			}
		}
		if all, err := ParseTurns(b); err == nil {
			if again, err := ParseTurns(AppendTurns(nil, all)); err != nil || !reflect.DeepEqual(again, all) {
				t.Errorf("turns %+v became %+v, %v", all, again, err)
			}
		}
		if e, err := ParseExit(b); err == nil {
			if again, err := ParseExit(e.Append(nil)); err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("exit %+v became %+v, %v", e, again, err)
			}
		}
	})
}

func addLists(f *testing.F) {
	for _, id := range goodIdentities {
		f.Add(id.Append(nil))
	}
	for _, s := range goodSpawns {
		f.Add(s.Append(nil))
	}
	for _, e := range goodExits {
		f.Add(e.Append(nil))
	}
	for _, e := range goodEnds {
		f.Add(e.Append(nil))
	}
	for _, m := range goodMounts {
		f.Add(m.Append(nil))
	}
	for _, all := range goodTurns {
		f.Add(AppendTurns(nil, all))
	}
	for _, b := range badLists {
		f.Add(b.bytes)
	}
}

// A name that is accepted is two words, each accepted by itself, and a dot.
func FuzzValidName(f *testing.F) {
	for _, n := range names {
		f.Add(n.Text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := []byte(s)
		if !ValidName(b) {
			return
		}
		words := bytes.Split(b, []byte("."))
		if len(words) != 2 || !ValidWord(words[0]) || !ValidWord(words[1]) || len(b) > MaxName {
			t.Errorf("ValidName(%q) = true", s)
		}
	})
}
