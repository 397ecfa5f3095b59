package wire

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// Readers that share buffers, each of which is cut off somewhere or not, return what they were sent and nothing
// of what the others were.
func TestReadersThatShareBuffers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 100, keepBytes - 100, keepBytes, 256 << 10, middleBytes, middleBytes + 1, MaxBody}
	shared := new(Buffers)
	lent := make([]byte, keepBytes)
	for n := range 300 {
		fill := byte(1 + n%100)
		var raw []byte
		var bodies []int
		for range 1 + random.IntN(3) {
			size := sizes[random.IntN(len(sizes))]
			if random.IntN(2) == 0 {
				size = random.IntN(MaxBody + 1)
			}
			bodies = append(bodies, size)
			raw = append(raw, call(1, bytes.Repeat([]byte{fill}, size))...)
		}
		whole := random.IntN(4) > 0
		if !whole {
			raw = raw[:len(raw)-1]
		}
		r := NewReader(&pieces{raw, 1 + random.IntN(100_000)})
		r.Share(shared)
		for i, size := range bodies {
			if random.IntN(2) == 0 {
				r.Lend(lent)
			}
			f, err := r.Next()
			if i == len(bodies)-1 && !whole {
				if err != io.ErrUnexpectedEOF {
					t.Fatalf("stream %d, cut short: Next() = %v", n, err)
				}
				break
			}
			if err != nil || len(f.Body) != size || len(bytes.Trim(f.Body, string([]byte{fill}))) > 0 || cap(f.Body) != size {
				t.Fatalf("stream %d: Next() = %d bytes of %d, %v, of another stream: %v", n, len(f.Body), size, err, len(f.Body) == size)
			}
			if random.IntN(2) == 0 && r.GiveBack() {
				lent = make([]byte, keepBytes)
			}
		}
	}
}

// What is kept of a frame is never used for another one.
func TestKeptBodyLeavesTheBuffers(t *testing.T) {
	shared := new(Buffers)
	var kept [][]byte
	for n := range 20 {
		r := NewReader(bytes.NewReader(call(1, bytes.Repeat([]byte{byte(1 + n)}, MaxBody-n*40_000))))
		r.Share(shared)
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, r.Keep(f.Body))
		r.GiveBack()
	}
	for n, body := range kept {
		if len(bytes.Trim(body, string([]byte{byte(1 + n)}))) > 0 {
			t.Errorf("body %d was written over", n)
		}
	}
}
