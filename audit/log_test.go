package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var decision = Record{
	Kind:     KindDecision,
	Subject:  "dynamic",
	Instance: "dynamic-1",
	Op:       "call",
	Object:   "bank.transfer",
	Verdict:  Allow,
	Rule:     "cofferdam.yaml:31",
	Call:     77,
}

// open returns a log in a directory of its own.
func open(t testing.TB) *Log {
	t.Helper()
	l, err := Open(filepath.Join(t.TempDir(), "audit.jsonl"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// filled returns the lines of a log with a first checkpoint and n records.
func filled(t testing.TB, n int) []string {
	t.Helper()
	l := open(t)
	for i := range n {
		r := decision
		r.Object = fmt.Sprintf("bank.method%d", i)
		if _, err := l.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(read(t, l.Path()), "\n")[:n+1]
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestChainGoesOnAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for round := range uint64(3) {
		l, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(5) {
			seq, err := l.Append(decision)
			if want := round*6 + i + 2; seq != want || err != nil {
				t.Fatalf("Append in round %d = %d, %v, want %d", round, seq, err, want)
			}
		}
		head, err := l.Head()
		must(t, err)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		report := verifiedAt(t, path, Check{Anchor: &head})
		if report.Verdict != Complete || report.First != 1 || report.Last != head.Seq+1 || report.Records != report.Last || !report.Closed || report.Unclosed != nil {
			t.Errorf("Verify = %+v; the log ended at %v", report, head)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the log is %v, %v, want 0600", info.Mode(), err)
	}
}

func TestAppendReachesTheFile(t *testing.T) {
	deny, start := decision, Record{Kind: KindStart, Subject: "bank"}
	deny.Verdict = Deny
	for _, tt := range []struct {
		name string
		r    Record
		wait time.Duration
		want int // lines in the file
	}{
		{"a permission stays in the buffer", decision, flushDelay - 1, 0},
		{"a permission after the delay", decision, flushDelay, 1},
		{"a refusal at once", deny, 0, 1},
		{"a start at once", start, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			synctest.Test(t, func(t *testing.T) {
				l, err := Open(path, Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				if _, err := l.Append(tt.r); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.wait)
				synctest.Wait()
				if got := strings.Count(read(t, path), "\n") - 1; got != tt.want {
					t.Errorf("%v after Append the file has %d lines, want %d", tt.wait, got, tt.want)
				}
			})
		})
	}
}

func TestAppendWritesAtTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that the timer does not write
		l := open(t)
		for range flushBytes/100 + 1 {
			if _, err := l.Append(decision); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(read(t, l.Path())); got < flushBytes {
			t.Errorf("with more than %d bytes appended the file has %d", flushBytes, got)
		}
	})
}

func TestTimeIsTheClocks(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 789_000, time.FixedZone("", 3600))
	l, err := Open(filepath.Join(t.TempDir(), "a"), Options{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Append(Record{Kind: KindApp, Time: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, l.Path()); !strings.Contains(got, `"time":"2031-02-03T03:05:06.000789Z"`) {
		t.Errorf("the time of the clock is not in %s", got)
	}
}

func TestConcurrentAppends(t *testing.T) {
	const writers, each = 8, 200
	l := open(t)
	seen := make([]bool, 2*writers*each)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r := decision
				if (w+i)%17 == 0 {
					r.Verdict = Deny
				}
				seq, err := l.Append(r)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[seq] {
					t.Errorf("number %d was given twice", seq)
				}
				seen[seq] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	report := verifiedAt(t, l.Path(), Check{Keys: []Key{l.Key()}})
	if report.Verdict != Complete || report.Records != writers*each+report.Checkpoints {
		t.Errorf("Verify = %+v, want %d records", report, writers*each)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"a symbolic link", func(t *testing.T, path string) {
			must(t, os.WriteFile(path+".real", nil, 0o600))
			must(t, os.Symlink(path+".real", path))
		}, "too many levels of symbolic links"},
		{"a pipe", func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) }, "not a regular file"},
		{"a file others may read", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, nil, 0o644))
			must(t, os.Chmod(path, 0o644))
		}, "mode is 0644"},
		{"a file that is no log", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte("a diary\n"), 0o600))
		}, "last line is not a record"},
		{"a file that is no log and no line", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte("a diary"), 0o600))
		}, "not an audit log"},
		{"a damaged last line", func(t *testing.T, path string) {
			line := filled(t, 1)[1]
			must(t, os.WriteFile(path, []byte(strings.Replace(line, "bank", "BANK ", 1)+"\x00\x00\n"), 0o600))
		}, "last line is not a record"},
		{"a log that is written already", func(t *testing.T, path string) {
			l, err := Open(path, Options{})
			must(t, err)
			t.Cleanup(func() { l.Close() })
		}, ErrLocked.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			tt.make(t, path)
			before, _ := os.Stat(path)
			l, err := Open(path, Options{})
			if err == nil {
				l.Close()
				t.Fatalf("Open = nil error, want one with %q", tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open = %v, want it to tell %q and %q", err, path, tt.want)
			}
			if after, _ := os.Stat(path); after.Size() != before.Size() {
				t.Errorf("Open changed the size from %d to %d", before.Size(), after.Size())
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A crash can end a write anywhere. Whatever is left, the next Open goes on, and
// the chain holds and tells what was cut, and that nobody vouches for what was left.
func TestOpenAfterACrash(t *testing.T) {
	dir := t.TempDir()
	lines, signer := signedLog(t)
	whole := strings.Join(lines, "")
	for cut := range len(whole) + 1 {
		if cut%41 != 0 && cut > 700 && cut < len(whole)-2 { // all would take long
			continue
		}
		path := filepath.Join(dir, "audit.jsonl")
		must(t, os.WriteFile(path, []byte(whole[:cut]), 0o600))
		must(t, os.WriteFile(keyPath(path), []byte(hex.EncodeToString(signer.Seed())), 0o600))
		l, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("Open after a cut at byte %d: %v", cut, err)
		}
		_, err = l.Append(decision)
		must(t, err)
		must(t, l.Close())
		got := read(t, path)
		torn := cut > 0 && whole[cut-1] != '\n'
		kept := uint64(strings.Count(whole[:cut], "\n"))
		want := kept + 2 // the decision, and the close
		if torn {
			want++
		}
		switch kept {
		case 0: // the key was there before, which is told after the first checkpoint
			want += 2
		case 14: // it was closed
		default:
			want += 2 // it was not
		}
		report := verifiedAt(t, path, Check{Keys: []Key{publicOf(signer)}})
		if report.Damaged > 0 || report.Records != want || !report.Closed {
			t.Fatalf("after a cut at byte %d: Verify = %+v, want %d records", cut, report, want)
		}
		if closed := kept == 0 || kept == 14; closed != (report.Unclosed == nil) {
			t.Fatalf("after a cut at byte %d: %d records, unclosed: %v", cut, kept, report.Unclosed)
		}
		if report.Unclosed != nil {
			after := uint64(1)
			for _, n := range []uint64{6, 11} {
				if kept >= n {
					after = n
				}
			}
			if g := report.Unclosed[0]; g.After != after || g.Records != kept-after {
				t.Fatalf("after a cut at byte %d, with %d records left: %+v", cut, kept, g)
			}
		}
		if report.Verdict != Complete {
			t.Fatalf("after a cut at byte %d: %s: %s", cut, report.Verdict, report.Why)
		}
		if strings.Contains(got, `"op":"repair"`) != torn {
			t.Fatalf("after a cut at byte %d the log is\n%s", cut, got)
		}
		if !strings.HasPrefix(got, strings.Join(lines[:kept], "")) {
			t.Fatalf("after a cut at byte %d records are gone", cut)
		}
	}
}

// The key is the log's: another one, or none, is an error, and nothing is written.
func TestOpenHoldsToTheKey(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(path string)
		want string
	}{
		{"it is gone", func(path string) { must(t, os.Remove(keyPath(path))) }, "audit.key is gone, the key that the log is signed with (public key "},
		{"another one", func(path string) {
			must(t, os.Remove(keyPath(path)))
			_, err := makeSigner(path)
			must(t, err)
		}, "it is signed with another key than the one beside it"},
		{"others may read it", func(path string) { must(t, os.Chmod(keyPath(path), 0o640)) }, "not a file of its owner's alone"},
		{"a link", func(path string) {
			must(t, os.Rename(keyPath(path), path+".moved"))
			must(t, os.Symlink(path+".moved", keyPath(path)))
		}, "too many levels of symbolic links"},
		{"a pipe", func(path string) {
			must(t, os.Remove(keyPath(path)))
			must(t, syscall.Mkfifo(keyPath(path), 0o600))
		}, "not a file of its owner's alone"},
		{"something else", func(path string) { must(t, os.WriteFile(keyPath(path), []byte("my diary\n"), 0o600)) }, "not 64 digits of hex"},
		{"too much", func(path string) {
			must(t, os.WriteFile(keyPath(path), []byte(read(t, keyPath(path))+"0\n"), 0o600))
		}, "not 64 digits of hex"},
		{"the checkpoint was changed", func(path string) {
			text := read(t, path)
			must(t, os.WriteFile(path, []byte(strings.Replace(text, `"why":"close"`, `"why":"count"`, 1)), 0o600))
		}, "record 3 is a checkpoint, and its signature does not hold"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			l, err := Open(path, Options{})
			must(t, err)
			if info, err := os.Stat(keyPath(path)); err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("the key: %v, %v", info, err)
			}
			if k, err := ReadKey(PublicKeyPath(path)); err != nil || k != l.Key() {
				t.Fatalf("the public key: %v, %v, want %v", k, err, l.Key())
			}
			_, err = l.Append(decision)
			must(t, err)
			must(t, l.Close())
			tt.do(path)
			before := read(t, path)
			if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open = %v, want %q", err, tt.want)
			}
			if read(t, path) != before {
				t.Errorf("Open has changed the log")
			}
		})
	}
}

// A log that is gone while its key is there says so in the first record.
func TestOpenWithoutTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for range 2 {
		l, err := Open(path, Options{})
		must(t, err)
		_, err = l.Append(decision)
		must(t, err)
		must(t, l.Close())
		defer os.Remove(path)
		if strings.Contains(read(t, path), "the log was removed") {
			return
		}
		must(t, os.Remove(path))
	}
	t.Error("the second log does not say that the first was removed")
}

// Checkpoints come by count, by time, and never without a record in between.
func TestCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		l, err := Open(path, Options{Every: 3, Interval: time.Minute})
		must(t, err)
		for _, n := range []int{2, 0, 3, 4, 0, 0} { // records in each minute and a half
			for range n {
				_, err := l.Append(decision)
				must(t, err)
			}
			time.Sleep(90 * time.Second)
			synctest.Wait()
		}
		must(t, l.Close())
		var got []string
		must(t, scan(strings.NewReader(read(t, path)), 0, false, func(r Record) error {
			if r.Checkpoint == nil {
				got = append(got, "r")
				return nil
			}
			got = append(got, string(r.Checkpoint.Why))
			return nil
		}))
		if want := "begin r r time r r r count r r r count r time close"; strings.Join(got, " ") != want {
			t.Errorf("%v\nwant %s", got, want)
		}
	})
}

func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs dev-full: ", err)
	}
	synctest.Test(t, func(t *testing.T) {
		_, signer, err := ed25519.GenerateKey(nil)
		must(t, err)
		l := newLog(full, Options{}, signer, end{hash: noLine()})
		if _, err := l.Append(decision); err != nil {
			t.Fatalf("Append into the buffer = %v", err)
		}
		time.Sleep(flushDelay)
		synctest.Wait()
		for range 2 {
			if seq, err := l.Append(decision); seq != 0 || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Append after the disk was full = %d, %v, want 0, ENOSPC", seq, err)
			}
		}
		if err := l.Flush(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Flush = %v, want ENOSPC", err)
		}
		if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Close = %v, want ENOSPC", err)
		}
	})
}

// smallDisk is a file system of its own, of a size that a remount can change.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("needs root: to mount a tmpfs: ", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	return dir
}

// A disk that fills up in the middle of a line, for real: what was written up
// to there counts, and when there is room again the log is taken up.
func TestDiskFillsUp(t *testing.T) {
	dir := smallDisk(t, "16k")
	path := filepath.Join(dir, "audit.jsonl")
	l, err := Open(path, Options{})
	must(t, err)
	deny := decision
	deny.Verdict = Deny
	var last uint64
	for err == nil {
		var seq uint64
		if seq, err = l.Append(deny); err == nil {
			last = seq
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Append = %v, want ENOSPC", err)
	}
	l.Close()
	report := verifiedAt(t, path, Check{})
	if report.Verdict != Truncated || report.Torn == 0 || report.Last != last {
		t.Errorf("Verify = %+v, want a torn line after record %d", report, last)
	}
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64k"))
	l, err = Open(path, Options{})
	must(t, err)
	_, err = l.Append(deny)
	must(t, err)
	must(t, l.Close())
	// A checkpoint, what was found, what was repaired, the refusal, the close.
	if report := verifiedAt(t, path, Check{}); report.Damaged > 0 || !report.Closed || report.Last != last+5 {
		t.Errorf("Verify after the repair = %+v, want record %d last", report, last+5)
	}
}

// The same, and the log is not closed meanwhile: nothing is recorded or permitted, the file goes on where it
// ended once there is room, and says what was not recorded. Whoever reads along misses nothing.
func TestDiskFullForAWhile(t *testing.T) {
	dir := smallDisk(t, "16k")
	path := filepath.Join(dir, "audit.jsonl")
	l, err := Open(path, Options{})
	must(t, err)
	w, head, err := l.Watch(func(Record) bool { return true })
	must(t, err)
	deny := decision
	deny.Verdict = Deny
	size := 16
	for round := range 3 {
		var last uint64
		for err == nil {
			var seq uint64
			if seq, err = l.Append(deny); err == nil {
				last = seq
			}
		}
		for _, r := range []Record{decision, deny, {Kind: KindStart}, {Kind: KindExit}} {
			if seq, err := l.Append(r); seq != 0 || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("round %d: Append of %q on a full disk = %d, %v", round, r.Kind, seq, err)
			}
		}
		if _, _, err := l.Watch(func(Record) bool { return true }); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Watch on a full disk: %v", err)
		}
		if report := verifiedAt(t, path, Check{}); report.Damaged > 0 || report.Last != last {
			t.Errorf("Verify on a full disk = %+v, want record %d last", report, last)
		}
		size += 16
		must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%dk", size)))
		if round == 1 { // nobody has anything to record: it goes on by itself
			for end := time.Now().Add(20 * time.Second); l.Flush() != nil; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it does not go on by itself")
				}
			}
		}
		seq, again := l.Append(decision)
		if again != nil || seq != last+3 { // after the one that was torn, and what is said of it
			t.Fatalf("Append when there is room = %d, %v, want record %d", seq, again, last+3)
		}
		must(t, l.Flush())
		var said string
		must(t, Scan(path, func(r Record) error {
			if r.Seq == last+2 {
				said = r.Op + " " + r.Detail
			}
			return nil
		}))
		if want := fmt.Sprintf(": 4 records could not be made, and of record %s it was said that it could not", ID(last+1)); !strings.HasPrefix(said, "resume the disk was full since 2") || !strings.HasSuffix(said, want) {
			t.Errorf("record %d says %q, want … %q", last+2, said, want)
		}
		err = nil
	}
	must(t, l.Close())
	report := verifiedAt(t, path, Check{Keys: []Key{l.Key()}})
	if report.Verdict != Complete || !report.Closed {
		t.Errorf("Verify after all = %+v", report)
	}
	lines, lost, err := w.Next(t.Context())
	must(t, err)
	if got := uint64(bytes.Count(lines, []byte("\n"))) + lost; got != report.Last-head.Seq-1 { // but for the checkpoint of the end
		t.Errorf("%d records were watched after %d, want %d", got, head.Seq, report.Last-head.Seq-1)
	}
}

func TestClosed(t *testing.T) {
	l := open(t)
	must(t, l.Close())
	if err := l.Close(); err != nil {
		t.Errorf("second Close = %v, want nil", err)
	}
	if _, err := l.Append(decision); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close = %v, want ErrClosed", err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	l := open(t)
	hostile := decision
	hostile.Object = strings.Repeat("\x00\xff\u202e", MaxField)
	for _, r := range []Record{decision, hostile} {
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := l.Append(r); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("Append allocates %v times", n)
		}
	}
}

func TestID(t *testing.T) {
	for _, seq := range []uint64{1, 15, 16, 0xdeadbeef, 1<<64 - 1} {
		if got, err := ParseID(ID(seq)); got != seq || err != nil {
			t.Errorf("ParseID(%q) = %d, %v, want %d", ID(seq), got, err, seq)
		}
	}
	for _, s := range []string{"", "0", "g", "-1", "0x1", "1_0", "+1", " 1", "10000000000000000"} {
		if got, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %d, want an error", s, got)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, bench := range []struct {
		name   string
		object string
	}{
		{"plain", decision.Object},
		{"escaped=1KiB", strings.Repeat("\x00", MaxField)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			l := open(b)
			r := decision
			r.Object = bench.object
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Append(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What a log takes from many at a time, with its checkpoints and, here, a new file for
// each 8 MiB.
func BenchmarkSustained(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "audit.jsonl"), Options{Rotate: 8 << 20})
	must(b, err)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := l.Append(decision); err != nil {
				b.Error(err)
				return
			}
		}
	})
	must(b, l.Close())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkVerify(b *testing.B) {
	const records = 20_000
	path := filepath.Join(b.TempDir(), "audit.jsonl")
	l, err := Open(path, Options{})
	must(b, err)
	for range records {
		_, err := l.Append(decision)
		must(b, err)
	}
	must(b, l.Close())
	info, err := os.Stat(path)
	must(b, err)
	s, err := OpenSegments(path)
	must(b, err)
	defer s.Close()
	b.SetBytes(info.Size())
	for b.Loop() {
		if report, err := s.Verify(Check{}); err != nil || report.Verdict != Complete {
			b.Fatal(report, err)
		}
	}
	b.ReportMetric(float64(records*b.N)/b.Elapsed().Seconds(), "records/s")
}

// What was done without a protection says so, record by record, and is chained.
func TestDegraded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for _, weak := range [][]string{{"landlock", "cgroup.pids"}, nil} {
		l, err := Open(path, Options{Degraded: weak})
		if err != nil {
			t.Fatal(err)
		}
		r := decision
		r.Degraded = "what a caller says of it"
		if _, err := l.Append(r); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	text := read(t, path)
	var got []string
	must(t, scan(strings.NewReader(text), 0, false, func(r Record) error { got = append(got, r.Degraded); return nil }))
	if weak := "landlock cgroup.pids"; !slices.Equal(got, []string{weak, weak, weak, "", ""}) {
		t.Errorf("degraded: %q in\n%s", got, text)
	}
	if report := verifiedAt(t, path, Check{}); report.Verdict != Complete {
		t.Errorf("Verify = %+v", report)
	}
}
