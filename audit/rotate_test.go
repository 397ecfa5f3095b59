package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// appendUntil records until the log has n full segments.
func appendUntil(t testing.TB, l *Log, n int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, err := l.Append(decision)
		must(t, err)
		must(t, l.Flush())
		if full, err := segmentsOf(l.path); err != nil || len(full) >= n {
			must(t, err)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no segment %d after 30 s", n)
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// rotated is a closed log with n full segments.
func rotated(t testing.TB, n int) (path string, key Key) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, Options{Rotate: 4 << 10, Every: 5})
	must(t, err)
	appendUntil(t, l, n)
	l.moving.Wait()
	_, err = l.Append(decision)
	must(t, err)
	must(t, l.Close())
	return path, l.Key()
}

// The chain goes on over segments, through closes, and with many writers.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var key Key
	var decisions int
	for range 3 {
		l, err := Open(path, Options{Rotate: 8 << 10, Every: 7})
		must(t, err)
		key = l.Key()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					if _, err := l.Append(decision); err != nil {
						t.Error(err)
					}
					l.Flush()
				}
			})
		}
		wg.Wait()
		decisions += 200
		must(t, l.Close())
	}
	report := verifiedAt(t, path, Check{Keys: []Key{key}})
	if report.Verdict != Complete || report.Segments < 4 || report.Unclosed != nil {
		t.Fatalf("%+v", report)
	}
	s, err := OpenSegments(path)
	must(t, err)
	defer s.Close()
	var last uint64
	must(t, s.Scan(nil, func(r Record) error {
		if r.Seq != last+1 {
			t.Errorf("record %d after %d", r.Seq, last)
		}
		last = r.Seq
		if r.Kind == KindDecision {
			decisions--
		} else if r.Kind != KindCheckpoint {
			t.Errorf("%+v", r)
		}
		return nil
	}))
	if decisions != 0 || last != report.Last {
		t.Errorf("%d decisions are missing; the last record is %d, want %d", decisions, last, report.Last)
	}
	for seq := uint64(1); seq <= last; seq += 13 {
		if r, err := s.Find(seq); err != nil || r.Seq != seq {
			t.Errorf("Find(%d) = %+v, %v", seq, r, err)
		}
	}
	if full, err := segmentsOf(path); err != nil || len(full) != report.Segments-1 || full[0].n != 1 {
		t.Errorf("segments: %v, %v", full, err)
	}
	for _, name := range []string{path, segmentPath(path, 1)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A reader that began before the log moved on sees all of it.
func TestReadWhileRotating(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, Options{Rotate: 4 << 10})
	must(t, err)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				l.Append(decision)
				l.Flush()
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for range 50 {
		time.Sleep(time.Millisecond)
		head, err := l.Head()
		must(t, err)
		if report := verifiedAt(t, path, Check{Live: &head}); report.Verdict != Complete {
			t.Fatalf("%+v", report)
		}
	}
	close(stop)
	<-done
	must(t, l.Close())
}

// What is deleted is recorded first, and what is missing besides is damage.
func TestDrop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, Options{Rotate: 4 << 10, Keep: 2, Every: 5})
	must(t, err)
	appendUntil(t, l, 2)
	for last := uint64(0); last < 6; {
		_, err := l.Append(decision)
		must(t, err)
		must(t, l.Flush())
		l.moving.Wait()
		full, err := segmentsOf(path)
		must(t, err)
		last = full[len(full)-1].n
		if len(full) > 2 {
			t.Fatalf("%v are kept, want 2", full)
		}
	}
	must(t, l.Close())
	check := Check{Keys: []Key{l.Key()}}
	report := verifiedAt(t, path, check)
	if report.Verdict != Complete || report.First == 1 || report.Dropped != report.First-1 || report.Segments != 3 {
		t.Fatalf("%+v", report)
	}
	if n := strings.Count(read(t, path)+read(t, segmentPath(path, 6)), `"op":"drop"`); n != 2 {
		t.Errorf("%d records of a drop in the last two segments, want 2", n)
	}
	if r := verifiedAt(t, path, Check{Keys: check.Keys, Anchor: &Head{1, report.Head}}); r.Verdict != Truncated || !strings.Contains(r.Why, "rotation deleted it") {
		t.Errorf("with an anchor in what was deleted: %s: %s", r.Verdict, r.Why)
	}

	// It goes on knowing what was deleted.
	l, err = Open(path, Options{})
	must(t, err)
	if l.begin != report.First || l.segment != 7 {
		t.Errorf("it goes on at segment %d, and begins at %d", l.segment, l.begin)
	}
	_, err = l.Append(decision)
	must(t, err)
	must(t, l.Close())
	if r := verifiedAt(t, path, check); r.Verdict != Complete {
		t.Errorf("%s: %s", r.Verdict, r.Why)
	}
	must(t, os.Remove(segmentPath(path, 5)))
	if r := verifiedAt(t, path, check); r.Verdict != Damaged || !strings.Contains(r.Why, "no checkpoint says that rotation deleted them") {
		t.Errorf("without a segment that was kept: %s: %s", r.Verdict, r.Why)
	}
	// And signs nothing that would excuse it.
	l, err = Open(path, Options{Keep: 1, Rotate: 1})
	must(t, err)
	_, err = l.Append(decision)
	must(t, err)
	must(t, l.Close())
	if r := verifiedAt(t, path, check); r.Verdict != Complete && r.Verdict != Damaged {
		t.Errorf("%s: %s", r.Verdict, r.Why)
	}
}

// Edits of segments, and what is said of each.
func TestEditedSegments(t *testing.T) {
	strange, _ := rotated(t, 3)
	for _, tt := range []struct {
		name    string
		edit    func(path string)
		verdict Verdict
		why     string
	}{
		{"nothing", func(string) {}, Complete, "where it was closed"},
		{"the first deleted", func(p string) { must(t, os.Remove(segmentPath(p, 1))) }, Damaged, "records before the first one are missing, and no checkpoint"},
		{"one in the middle deleted", func(p string) { must(t, os.Remove(segmentPath(p, 2))) }, Damaged, "records before it are missing"},
		{"the last full one deleted", func(p string) { must(t, os.Remove(segmentPath(p, 3))) }, Damaged, "records before it are missing"},
		{"the one that is written to deleted", func(p string) { must(t, os.Remove(p)) }, Truncated, "it goes on in another segment, which is missing or empty"},
		{"the one that is written to emptied", func(p string) { must(t, os.Truncate(p, 0)) }, Truncated, "it goes on in another segment, which is missing or empty"},
		{"an old one in its place", func(p string) { must(t, os.WriteFile(p, []byte(read(t, segmentPath(p, 2))), 0o600)) },
			Damaged, "stands after record"},
		{"an old one in the place of another", func(p string) {
			must(t, os.WriteFile(segmentPath(p, 2), []byte(read(t, segmentPath(p, 1))), 0o600))
		}, Damaged, "stands after record"},
		{"two exchanged", func(p string) {
			a, b := read(t, segmentPath(p, 1)), read(t, segmentPath(p, 2))
			must(t, os.WriteFile(segmentPath(p, 1), []byte(b), 0o600))
			must(t, os.WriteFile(segmentPath(p, 2), []byte(a), 0o600))
		}, Damaged, "records before the first one are missing"},
		{"one torn", func(p string) {
			text := read(t, segmentPath(p, 2))
			must(t, os.WriteFile(segmentPath(p, 2), []byte(text[:len(text)-20]), 0o600))
		}, Damaged, "the last line of a full segment is torn"},
		{"one cut at a line", func(p string) {
			text := read(t, segmentPath(p, 2))
			must(t, os.WriteFile(segmentPath(p, 2), []byte(text[:strings.LastIndex(text[:len(text)-1], "\n")+1]), 0o600))
		}, Damaged, "1 records before it are missing"},
		{"one emptied", func(p string) { must(t, os.Truncate(segmentPath(p, 2), 0)) }, Damaged, "records before it are missing"},
		{"that of another log", func(p string) {
			must(t, os.WriteFile(segmentPath(p, 2), []byte(read(t, segmentPath(strange, 2))), 0o600))
		}, WrongKey, "another key signed"},
		{"one more after it", func(p string) {
			must(t, os.WriteFile(segmentPath(p, 4), []byte(read(t, segmentPath(strange, 3))), 0o600))
		}, WrongKey, "another key signed"},
		{"two made one", func(p string) { // nothing of what was decided is different
			must(t, os.WriteFile(segmentPath(p, 1), []byte(read(t, segmentPath(p, 1))+read(t, segmentPath(p, 2))), 0o600))
			must(t, os.Remove(segmentPath(p, 2)))
		}, Complete, "where it was closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, key := rotated(t, 3)
			tt.edit(path)
			report := verifiedAt(t, path, Check{Keys: []Key{key}})
			if report.Verdict != tt.verdict || !strings.Contains(report.Why, tt.why) {
				t.Errorf("%s: %s\nwant %s: %s", report.Verdict, report.Why, tt.verdict, tt.why)
			}
		})
	}
}

// A crash between any two steps of a rotation leaves what Open goes on with.
func TestCrashWhileRotating(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func(path string)
		gap   bool // that it was not closed is told
	}{
		{"a new file that was not put in place", func(p string) { must(t, os.WriteFile(p+".new", nil, 0o600)) }, false},
		{"the full one has both names", func(p string) { must(t, os.Link(p, segmentPath(p, 4))) }, false},
		{"the new one is in place, and empty", func(p string) {
			must(t, os.Rename(p, segmentPath(p, 4)))
			must(t, os.WriteFile(p, nil, 0o600))
		}, false},
		{"its first line is torn", func(p string) {
			must(t, os.Rename(p, segmentPath(p, 4)))
			must(t, os.WriteFile(p, []byte(`{"seq":1`), 0o600))
		}, false},
		{"it is not there", func(p string) { must(t, os.Rename(p, segmentPath(p, 4))) }, false},
		{"the one before was lost", func(p string) { must(t, os.Remove(p)) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, key := rotated(t, 3)
			tt.leave(path)
			l, err := Open(path, Options{Rotate: 4 << 10})
			must(t, err)
			full, err := segmentsOf(path)
			must(t, err)
			appendUntil(t, l, len(full)+2)
			must(t, l.Close())
			report := verifiedAt(t, path, Check{Keys: []Key{key}})
			if report.Verdict != Complete || (report.Unclosed != nil) != tt.gap {
				t.Errorf("%+v", report)
			}
		})
	}
}

// A rotation that fails is recorded, and the log goes on where it is.
func TestRotationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	must(t, os.Mkdir(path+".new", 0o700))
	must(t, os.WriteFile(filepath.Join(path+".new", "x"), nil, 0o600))
	l, err := Open(path, Options{Rotate: 4 << 10})
	must(t, err)
	for range 60 {
		_, err := l.Append(decision)
		must(t, err)
		must(t, l.Flush())
		l.moving.Wait()
	}
	text := read(t, path)
	if n := strings.Count(text, `"op":"rotate"`); n < 2 || n > 20 {
		t.Errorf("%d records that it failed", n)
	}
	must(t, os.RemoveAll(path+".new"))
	appendUntil(t, l, 1)
	must(t, l.Close())
	if report := verifiedAt(t, path, Check{Keys: []Key{l.Key()}}); report.Verdict != Complete {
		t.Errorf("%+v", report)
	}
}

// Processes that share a log take turns, and none writes to a segment that another has
// ended.
func TestShortWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				l, err := Open(path, Options{Rotate: 3 << 10})
				for errors.Is(err, ErrLocked) {
					time.Sleep(100 * time.Microsecond)
					l, err = Open(path, Options{Rotate: 3 << 10})
				}
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := l.Append(decision); err != nil {
					t.Error(err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	key, err := ReadKey(PublicKeyPath(path))
	must(t, err)
	report := verifiedAt(t, path, Check{Keys: []Key{key}})
	if report.Verdict != Complete || report.Unclosed != nil || report.Segments < 5 {
		t.Errorf("%+v", report)
	}
	s, err := OpenSegments(path)
	must(t, err)
	defer s.Close()
	n := 0
	must(t, s.Scan(nil, func(r Record) error {
		if r.Kind == KindDecision {
			n++
		}
		return nil
	}))
	if n != 100 {
		t.Errorf("%d decisions, want 100", n)
	}
}

// Names that are no segments are none.
func TestSegmentNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"audit-00000002.jsonl", "audit-00000010.jsonl", "audit-100000000.jsonl",
		"audit-2.jsonl", "audit-00000000.jsonl", "audit-+0000002.jsonl", "audit-00000003.jsonl.new", "audit-x.jsonl", "audit.jsonl", "audit.key", "other-00000002.jsonl"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	full, err := segmentsOf(filepath.Join(dir, "audit.jsonl"))
	var got []uint64
	for _, seg := range full {
		got = append(got, seg.n)
	}
	if !slices.Equal(got, []uint64{2, 10, 100000000}) || err != nil {
		t.Errorf("%v, %v", full, err)
	}
}

// A full disk in the middle of a rotation, for real: the log ends there like anywhere,
// and goes on when there is room.
func TestDiskFillsUpWhileRotating(t *testing.T) {
	dir := smallDisk(t, "48k")
	path := filepath.Join(dir, "audit.jsonl")
	always := func() (uint64, uint64) { return 1, 0 }
	for round := range 4 {
		l, err := Open(path, Options{Rotate: 3 << 10, Disk: always})
		must(t, err)
		deny := decision
		deny.Verdict = Deny
		for err == nil {
			_, err = l.Append(deny)
			l.moving.Wait()
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("Append = %v, want ENOSPC", err)
		}
		l.Close()
		must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%dk", 48*(round+2))))
	}
	l, err := Open(path, Options{Rotate: 3 << 10, Disk: always})
	must(t, err)
	must(t, l.Close())
	if report := verifiedAt(t, path, Check{Keys: []Key{l.Key()}}); report.Verdict != Complete || report.Segments < 10 {
		t.Errorf("%+v", report)
	}
}
