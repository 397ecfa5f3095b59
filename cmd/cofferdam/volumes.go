package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cofferdam/supervisor"
)

// volumesDir is where an application keeps its volumes. Those of root are file
// systems, which the kernel parses: they lie beside what the trusted process may
// write, where only root can. No application has a name that begins with a dot.
func volumesDir(name string, d supervisor.Dirs) string {
	if os.Getuid() != 0 {
		return filepath.Join(d.State, "volumes")
	}
	return filepath.Join(filepath.Dir(d.State), ".volumes", name)
}

// prepareVolumes makes that directory. What an earlier version kept elsewhere
// moves there.
func prepareVolumes(name string, d supervisor.Dirs) (string, error) {
	dir := volumesDir(name, d)
	if err := ownDir(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	if err := ownDir(dir, 0o700); err != nil {
		return "", err
	}
	old := filepath.Join(d.State, "volumes")
	if old == dir {
		return dir, nil
	}
	if info, err := os.Lstat(old); err != nil || !info.IsDir() {
		return dir, nil
	}
	if err := moveAll(old, dir); err != nil {
		return "", fmt.Errorf("move the volumes of %q to %s: %w", name, dir, err)
	}
	return dir, nil
}

// knownVolumes says which volumes lie in dir, as long as no label of any was written down.
func knownVolumes(dir string, d supervisor.Dirs) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		// What has a "~" is no volume, or was one: see the executor.
		if name, _, _ := strings.Cut(e.Name(), "~"); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return supervisor.KnownVolumes(d, names)
}

// moveAll moves what is in a directory to another one, in which nothing has the
// same name, and removes it.
func moveAll(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		target := filepath.Join(to, e.Name())
		if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is there already", target)
		}
		if err := os.Rename(filepath.Join(from, e.Name()), target); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "cofferdam: moved volume %s to %s\n", printable(e.Name()), to)
	}
	return os.Remove(from)
}
