package wire

import (
	"fmt"
	"testing"
)

func BenchmarkReader(b *testing.B) {
	for _, n := range []int{64, 4 << 10, 64 << 10, MaxBody} {
		b.Run(fmt.Sprintf("body=%d", n), func(b *testing.B) {
			r := NewReader(&looped{b: call(1, make([]byte, n))})
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, n := range []int{64, 64 << 10} {
		b.Run(fmt.Sprintf("body=%d", n), func(b *testing.B) {
			f := Frame{Header: Header{Op: OpCall, ID: 1}, NameBytes: []byte("bank.balance"), Body: make([]byte, n)}
			var dst []byte
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendFrame(dst[:0], &f)
			}
		})
	}
}

func BenchmarkParseIdentity(b *testing.B) {
	raw := goodIdentities[1].Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseIdentity(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseSpawn(b *testing.B) {
	raw := goodSpawns[1].Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseSpawn(raw); err != nil {
			b.Fatal(err)
		}
	}
}
