// Command tenant adds a tenant to the file of tenants: with a password that is drawn at
// random and printed, and a directory of its own.
//
//	tenant [-file tenants.json] [-in tenants] [-library DIR] [-at 127.0.0.1:4711] NAME
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cofferdam/examples/isabelle/manager"
)

func main() {
	file := flag.String("file", "tenants.json", "the `file` of tenants")
	in := flag.String("in", "tenants", "the `directory` in which tenants have theirs: the share of the manifest")
	library := flag.String("library", "", "a `directory` that the tenant may read besides")
	at := flag.String("at", "127.0.0.1:4711", "the manager's `address`, for clients")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	line, err := add(*file, *in, *library, *at, flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "tenant:", err)
		os.Exit(1)
	}
	fmt.Println(line)
}

// add adds a tenant and returns the line by which clients of a server know it.
func add(file, in, library, at, name string) (line string, err error) {
	var all struct {
		Tenants manager.Tenants `json:"tenants"`
	}
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the first one
	case err != nil:
		return "", err
	default:
		if all.Tenants, err = manager.ParseTenants(text); err != nil {
			return "", err
		}
	}
	password := rand.Text()
	t := &manager.Tenant{Name: name, Password: fmt.Sprintf("%x", sha256.Sum256([]byte(password)))}
	for _, dir := range []string{filepath.Join(in, name), library} {
		if dir == "" {
			continue
		}
		// Paths are compared as they are, so they are written without links.
		if dir, err = resolved(dir); err != nil {
			return "", err
		}
		t.Directories = append(t.Directories, dir)
	}
	all.Tenants = append(all.Tenants, t)
	if text, err = json.MarshalIndent(all, "", "  "); err != nil {
		return "", err
	}
	if _, err := manager.ParseTenants(text); err != nil {
		return "", err
	}
	// What runs in an instance is nobody on the host. It makes its sessions' directories in
	// this one, where the tenant writes too.
	sessions := filepath.Join(t.Directories[0], manager.SessionsIn)
	if err := os.MkdirAll(sessions, 0o777); err != nil {
		return "", err
	}
	if err := os.Chmod(sessions, 0o777|fs.ModeSticky); err != nil {
		return "", err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return "", err
	}
	return fmt.Sprintf(`server "isabelle" = %s (password "%s")`, at, password), nil
}

// resolved is the directory, which is made if there is none, by its absolute path.
func resolved(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}
