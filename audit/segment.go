package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// segmentPath is where segment n of the log at path is once it is full:
// audit-00000001.jsonl beside audit.jsonl.
func segmentPath(path string, n uint64) string {
	return fmt.Sprintf("%s-%08d.jsonl", strings.TrimSuffix(path, ".jsonl"), n)
}

// segment is a full one.
type segment struct {
	path string
	n    uint64
}

// segmentsOf lists the full segments of the log at path, the oldest first.
func segmentsOf(path string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	prefix := filepath.Base(strings.TrimSuffix(path, ".jsonl")) + "-"
	var all []segment
	for _, e := range entries {
		digits, is := strings.CutPrefix(e.Name(), prefix)
		digits, also := strings.CutSuffix(digits, ".jsonl")
		n, err := strconv.ParseUint(digits, 10, 64)
		if !is || !also || err != nil || n == 0 {
			continue
		}
		if s := segmentPath(path, n); filepath.Base(s) == e.Name() {
			all = append(all, segment{s, n})
		}
	}
	slices.SortFunc(all, func(a, b segment) int { return cmp.Compare(a.n, b.n) })
	return all, nil
}

// Segments are the files of a log, opened to be read: as they are at that moment,
// whatever its writer does to them meanwhile, unless it deletes one.
type Segments struct {
	full []segment
	last *os.File // nil if it is missing
	path string
}

// OpenSegments opens the log at path for reading, running or not. In place of the log
// it can be the directory that has it. Without any file of it the error wraps
// [os.ErrNotExist].
func OpenSegments(path string) (*Segments, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "audit.jsonl")
	}
	for {
		last, err := openRegular(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		full, lerr := segmentsOf(path)
		if lerr != nil {
			return nil, errors.Join(err, lerr)
		}
		if last == nil {
			if len(full) == 0 {
				return nil, err
			}
			return &Segments{full: full, path: path}, nil
		}
		// What was the last one may have become a full one since.
		if same, err := isAt(last, path); err == nil && same {
			return &Segments{full: full, last: last, path: path}, nil
		}
		last.Close()
	}
}

// Close gives them up.
func (s *Segments) Close() {
	if s.last != nil {
		s.last.Close()
	}
}

// Path is that of the segment that is written to.
func (s *Segments) Path() string { return s.path }

// each calls f for every file, the oldest first.
func (s *Segments) each(f func(path string, r io.Reader, last bool) error) error {
	for i := range s.count() {
		err := s.with(i, func(path string, file *os.File, last bool) error { return f(path, file, last) })
		if err != nil {
			return err
		}
	}
	return nil
}

// count is how many files there are.
func (s *Segments) count() int {
	if s.last == nil {
		return len(s.full)
	}
	return len(s.full) + 1
}

// with calls f for file i, from its beginning.
func (s *Segments) with(i int, f func(path string, file *os.File, last bool) error) error {
	if i == len(s.full) {
		if _, err := s.last.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return f(s.path, s.last, true)
	}
	path := s.full[i].path
	file, err := openRegular(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return f(path, file, false)
}

// Scan calls f for every record, in order, and stops at the first error of f, which
// it returns as it is. A line that is no record is an error that wraps [ErrDamaged]; a
// torn last line is passed over, for the log may be in use. The chain is not checked.
//
// before, unless nil, tells of a record that neither it nor any before it is wanted. Those are
// not read, but for a few: where they end is found by halving.
func (s *Segments) Scan(before func(Record) bool, f func(Record) error) error {
	skip, err := s.skip(before)
	if err != nil {
		return err
	}
	for i := skip; i < s.count(); i++ {
		err := s.with(i, func(path string, file *os.File, last bool) error {
			from := int64(0)
			if i == skip && before != nil {
				if from, err = skipIn(file, before); err != nil {
					return err
				}
				if _, err := file.Seek(from, io.SeekStart); err != nil {
					return err
				}
			}
			err := scan(file, from, last, f)
			if errors.Is(err, ErrDamaged) {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ScanBack is Scan from the last record to the first.
func (s *Segments) ScanBack(f func(Record) error) error {
	for i := s.count() - 1; i >= 0; i-- {
		err := s.with(i, func(path string, file *os.File, last bool) error {
			err := scanBack(file, last, f)
			if errors.Is(err, ErrDamaged) {
				err = fmt.Errorf("%s: %w", path, err)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Scan calls f for every record of the log at path: see [Segments.Scan].
func Scan(path string, f func(Record) error) error {
	s, err := OpenSegments(path)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Scan(nil, f)
}

// skip is how many segments are not wanted: all those that end before a record of
// which before is true.
func (s *Segments) skip(before func(Record) bool) (n int, err error) {
	if before == nil {
		return 0, nil
	}
	n = sort.Search(s.count(), func(i int) bool {
		wanted := true // what cannot be read is not passed over
		readErr := s.with(i, func(_ string, file *os.File, _ bool) error {
			return scan(file, 0, true, func(first Record) error {
				wanted = !before(first)
				return errFound
			})
		})
		if readErr != nil && !errors.Is(readErr, errFound) && !errors.Is(readErr, ErrDamaged) {
			err = readErr
		}
		return wanted
	})
	return max(n-1, 0), err
}

// Find returns the record with number seq, or [ErrNotFound].
func (s *Segments) Find(seq uint64) (Record, error) {
	var found Record
	err := s.Scan(func(r Record) bool { return r.Seq <= seq }, func(r Record) error {
		if r.Seq < seq {
			return nil
		}
		found = r
		return errFound
	})
	switch {
	case errors.Is(err, errFound) && found.Seq == seq:
		return found, nil
	case err != nil && !errors.Is(err, errFound):
		return Record{}, err
	}
	return Record{}, fmt.Errorf("record %s: %w", ID(seq), ErrNotFound)
}

// openRegular opens a file for reading that others may have put there.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file but %v", path, info.Mode().Type())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// isAt tells whether f is the file at path.
func isAt(f *os.File, path string) (bool, error) {
	a, err := f.Stat()
	if err != nil {
		return false, err
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b), err
}
