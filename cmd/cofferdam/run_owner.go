package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"cofferdam/executor"
)

// maxOwned is how many files --rw may show to a program of root.
const maxOwned = 200_000

// ownership is who owns what --rw shows. As root the executor hands it over to
// the id that the program has on the host; here it is handed back.
type ownership struct {
	trees map[string]map[string]owner // by source, then by path below it
}

type owner struct{ uid, gid int }

// ownershipOf notes the owners of all that spec shows writable. As an ordinary
// user nothing changes hands, and there is nothing to note.
func ownershipOf(spec *executor.Spec) (*ownership, error) {
	o := &ownership{trees: make(map[string]map[string]owner)}
	if os.Getuid() != 0 {
		return o, nil
	}
	for _, m := range spec.Mounts {
		if m.Kind != executor.MountBind || !m.Writable {
			continue
		}
		owners := make(map[string]owner)
		err := filepath.WalkDir(m.Source, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if len(owners) == maxOwned {
				return fmt.Errorf("more than %d files", maxOwned)
			}
			below, err := filepath.Rel(m.Source, path)
			st := info.Sys().(*syscall.Stat_t)
			owners[below] = owner{int(st.Uid), int(st.Gid)}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("note the owners in %s: %w", m.Source, err)
		}
		o.trees[m.Source] = owners
	}
	return o, nil
}

// restore gives everything back; what is new goes to the owner of the whole. The
// program has ended, and what it left is reached beneath the source only.
func (o *ownership) restore() error {
	var failed []error
	for source, owners := range o.trees {
		if err := restoreTree(source, owners); err != nil {
			failed = append(failed, fmt.Errorf("give %s back to its owner: %w", source, err))
		}
	}
	return errors.Join(failed...)
}

func restoreTree(source string, owners map[string]owner) error {
	top := owners["."]
	if info, err := os.Lstat(source); err != nil || !info.IsDir() {
		return errors.Join(err, os.Lchown(source, top.uid, top.gid))
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to, ok := owners[path]
		if !ok {
			to = top
		}
		return root.Lchown(path, to.uid, to.gid)
	})
}
