package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"cofferdam/label"
)

// maxLabelFile is the longest text that is read of a label.
const maxLabelFile = 64 << 10

// volumeLabels remembers the label with which each volume was made, which is its
// label for good: a file for each, whose name is the volume's. What the manifest
// says later is not what the volume holds.
type volumeLabels struct {
	dir string
	mu  sync.Mutex // held while one is written down
}

// labelsDir is where they are kept.
func labelsDir(d Dirs) string { return filepath.Join(d.State, "labels") }

// errVolumeLabel says that a volume holds what another label is written for.
type errVolumeLabel struct {
	volume    string
	made, now label.Label
}

func (e *errVolumeLabel) Error() string {
	return fmt.Sprintf("volume %q was made with the label %s and keeps it, but its label is to be %s", e.volume, e.made, e.now)
}

// check tells whether the volume may be used with the label l: it must have been
// made with it, or not yet.
func (v *volumeLabels) check(volume string, l label.Label) error {
	made, known, err := v.of(volume)
	if err != nil || !known || made == l {
		return err
	}
	return &errVolumeLabel{volume, made, l}
}

// fix is check for a volume that is about to be used: from here on its label is
// known, whatever happens to the host.
func (v *volumeLabels) fix(volume string, l label.Label) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch made, known, err := v.of(volume); {
	case err != nil:
		return err
	case known && made != l:
		return &errVolumeLabel{volume, made, l}
	case known:
		return nil
	}
	if err := writeDown(filepath.Join(v.dir, volume), l.String()+"\n"); err != nil {
		return fmt.Errorf("label of the volume %q: %w", volume, err)
	}
	return nil
}

// of is the label of a volume that was made before.
func (v *volumeLabels) of(volume string) (l label.Label, known bool, err error) {
	path := filepath.Join(v.dir, volume)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return label.Label{}, false, nil
	case err == nil && (!info.Mode().IsRegular() || info.Size() > maxLabelFile):
		err = errors.New("not a file with a label")
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err == nil {
		l, err = label.Parse(string(text))
	}
	if err != nil {
		return label.Label{}, false, fmt.Errorf("label of the volume %q, in %s: %w", volume, path, err)
	}
	return l, true, nil
}

// writeDown makes a file that, once it is there, is there whole, also after a
// crash of the host.
func writeDown(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no use after the rename, and harmless
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// KnownVolumes says which volumes there are, before any label was written down:
// what an earlier version has made is public. Later it does nothing.
func KnownVolumes(d Dirs, names []string) error {
	dir := labelsDir(d)
	if _, err := os.Lstat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// In one step: a start that is cut short has not said it of some of them.
	temp, err := os.MkdirTemp(d.State, ".labels-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for _, name := range names {
		if err := writeDown(filepath.Join(temp, name), label.Public.String()+"\n"); err != nil {
			return err
		}
	}
	return os.Rename(temp, dir)
}
