package manifest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Load reads and checks the manifest at path. Host paths in it start from the
// directory that path is in. Everything wrong with the content comes back as
// [Errors]; that it cannot be read is an ordinary error.
func Load(path string) (*App, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("manifest %q: %w", path, err)
	}
	f, err := os.Open(abs)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return Parse(path, data, filepath.Dir(abs), HostPath)
}

// Parse checks the manifest data, called file in messages, whose relative host
// paths start from dir, an absolute directory. resolve turns an absolute host
// path into one without links, or says why it cannot be shown: [HostPath] in
// earnest, anything in a test. At most [MaxBytes] of data are accepted.
//
// Every problem found is in the error, which is of type [Errors].
func Parse(file string, data []byte, dir string, resolve func(path string) (string, error)) (*App, error) {
	return readWith(file, data, dir, resolve, nil)
}

// readWith is Parse with grants that are not in the file.
func readWith(file string, data []byte, dir string, resolve func(string) (string, error), more []Live) (*App, error) {
	src := source{data: data, paths: make(map[string]string)}
	resolve = src.remember(resolve)
	r := &reader{file: file, dir: dir, resolve: resolve, flaws: make(map[string]bool), people: &people{make(map[string]bool)}, places: make(map[string]Pos)}
	app := &App{File: file, Dir: dir, source: src}
	if top, ok := r.parseDocument(data); ok {
		for _, l := range more {
			l.write(top.node)
		}
		mapping(r, top, "a mapping: the manifest", appKeys(), app)
		app.names, app.table = namesOf(app), new(granted)
		app.fillDefaults()
		for _, question := range r.later {
			question(app)
		}
		if r.count == 0 {
			r.checkFlow(top, app)
		}
	}
	if err := report(r.found, r.count); err != nil {
		return nil, err
	}
	return app, nil
}

// closed are the host directories that cannot be shown, and why.
var closed = []struct{ path, reason string }{
	{"/proc", "it tells of every process of the host"},
	{"/sys", "it tells of the host and steers it"},
	{"/dev", "it holds the host's devices"},
	{"/run", "it holds the sockets of the host's daemons, which stay open when shown read-only"},
}

// HostPath resolves path, which must be absolute, to a file or directory that
// may be shown to an environment. Not every one may: the whole root, /proc,
// /sys, /dev, /run, devices and sockets are more than files. It does not look
// into a directory: a socket further down can be connected to even where it is
// shown read-only (connect(2) asks for write permission of the inode alone).
func HostPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	if real == "/" {
		return "", fmt.Errorf("%q is the whole host", path)
	}
	for _, c := range closed {
		if within(real, c.path) {
			return "", fmt.Errorf("%q cannot be shown: %s", real, c.reason)
		}
	}
	info, err := os.Lstat(real)
	if err != nil {
		return "", err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%q is neither a file nor a directory", real)
	}
	return real, nil
}

// within tells whether path is dir or lies below it; both are clean.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}
