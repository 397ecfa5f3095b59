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
		owners, err := ownersIn(m.Source)
		if err != nil {
			return nil, fmt.Errorf("note the owners in %s: %w", m.Source, err)
		}
		o.trees[m.Source] = owners
	}
	return o, nil
}

// ownersIn notes the owners of source and of all below it. Another program may be
// changing it meanwhile: no path that is looked at leads out.
func ownersIn(source string) (map[string]owner, error) {
	info, err := os.Lstat(source)
	if err != nil {
		return nil, err
	}
	owners := map[string]owner{".": ownerOf(info)}
	if !info.IsDir() {
		return owners, nil
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return owners, each(root, ".", func(path string) error {
		info, err := root.Lstat(path)
		if err != nil {
			return err
		}
		if len(owners) == maxOwned {
			return fmt.Errorf("more than %d files", maxOwned)
		}
		owners[path] = ownerOf(info)
		return nil
	})
}

// each calls f for path and then for all below it. (fs.WalkDir refuses a directory
// whose name is not UTF-8, which programs can make.)
func each(root *os.Root, path string, f func(path string) error) error {
	info, err := root.Lstat(path)
	if err != nil {
		return err
	}
	if err := f(path); err != nil || !info.IsDir() {
		return err
	}
	dir, err := root.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := each(root, filepath.Join(path, name), f); err != nil {
			return err
		}
	}
	return nil
}

func ownerOf(info fs.FileInfo) owner {
	st := info.Sys().(*syscall.Stat_t)
	return owner{int(st.Uid), int(st.Gid)}
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
	return each(root, ".", func(path string) error {
		to, ok := owners[path]
		if !ok {
			to = top
		}
		return root.Lchown(path, to.uid, to.gid)
	})
}
