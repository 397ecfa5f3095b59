// Package registry is the list of a user's Isabelle servers, in a database of SQLite
// as the original keeps it. Whoever can read its file can use them all.
//
// Trusted: no.
package registry

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the registry is a database of SQLite, which programs inside read

	"cofferdam/examples/isabelle/fakeserver"
	"cofferdam/examples/isabelle/protocol"
)

// Registry are the servers of a user.
type Registry struct{ db *sql.DB }

// Entry is a server that was active once.
type Entry struct {
	Name     string
	Port     int
	Password string
}

// Line is what the server of the entry prints first.
func (e Entry) Line() string { return fakeserver.Line(e.Name, e.Port, e.Password) }

// Open opens servers.db in a directory, which is made if need be.
func Open(dir string) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "servers.db")
	made, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	made.Close()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(`create table if not exists isabelle_servers (name text primary key, port int, password text)`); err != nil {
		db.Close()
		return nil, fmt.Errorf("registry %q: %w", file, err)
	}
	return &Registry{db}, nil
}

// Close closes the file.
func (r *Registry) Close() error { return r.db.Close() }

// All are the entries by name.
func (r *Registry) All() ([]Entry, error) {
	rows, err := r.db.Query(`select name, port, password from isabelle_servers order by name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		var e Entry
		if err := rows.Scan(&e.Name, &e.Port, &e.Password); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// Find is the entry of a name, if its server is active. One that is not is forgotten.
func (r *Registry) Find(name string) (Entry, bool, error) {
	all, err := r.All()
	for _, e := range all {
		if e.Name != name {
			continue
		}
		if e.Active() {
			return e, true, nil
		}
		return Entry{}, false, r.Remove(e)
	}
	return Entry{}, false, err
}

// Add keeps the entry, in the place of one with its name.
func (r *Registry) Add(e Entry) error {
	_, err := r.db.Exec(`insert or replace into isabelle_servers values (?, ?, ?)`, e.Name, e.Port, e.Password)
	return err
}

// Remove forgets the entry, and not one that has come in its place.
func (r *Registry) Remove(e Entry) error {
	_, err := r.db.Exec(`delete from isabelle_servers where name = ? and password = ?`, e.Name, e.Password)
	return err
}

// Active reports whether the server lets one in, within two seconds.
func (e Entry) Active() bool {
	conn, _, err := e.Dial(2 * time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// Dial connects to the server, and returns what it says after the password.
func (e Entry) Dial(timeout time.Duration) (net.Conn, *protocol.Reader, error) {
	conn, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", e.Port), timeout)
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(timeout))
	fmt.Fprintf(conn, "%s\n", e.Password)
	r := protocol.NewReader(conn, protocol.Limits{})
	answer, err := r.Message()
	if err == nil && protocol.Parse(answer).Name != protocol.OK {
		err = fmt.Errorf("server %q answers %.40q", e.Name, answer)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	return conn, r, nil
}
