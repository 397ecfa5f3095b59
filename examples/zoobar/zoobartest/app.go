package zoobartest

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"cofferdam/examples/zoobar/auth"
	"cofferdam/examples/zoobar/bank"
	"cofferdam/examples/zoobar/db"
	"cofferdam/examples/zoobar/dynamic"
	"cofferdam/examples/zoobar/echo"
	"cofferdam/examples/zoobar/honeychecker"
	"cofferdam/examples/zoobar/profile"
	"cofferdam/examples/zoobar/roster"
	"cofferdam/examples/zoobar/store"
	"cofferdam/examples/zoobar/visits"
)

// App is the whole application in this process.
type App struct {
	*Monitor
	Dir  string // of the databases: cred.db, index.db, bank.db, profile.db, person.db, visits.db
	Site http.Handler
	URL  string

	Cred, Index, BankDB, ProfileDB, Person, VisitsDB *sql.DB
}

// New starts the application and stops it with the test. Profiles run with the
// host's python3 and no sandbox at all: give it only programs of your own.
func New(t *testing.T) *App {
	t.Helper()
	a := &App{Monitor: NewMonitor(), Dir: t.TempDir()}
	a.Cred = Open(t, filepath.Join(a.Dir, "cred.db"), auth.Schema)
	a.Index = Open(t, filepath.Join(a.Dir, "index.db"), honeychecker.Schema)
	a.VisitsDB = Open(t, filepath.Join(a.Dir, "visits.db"), visits.Schema)
	a.BankDB = Open(t, filepath.Join(a.Dir, "bank.db"), bank.Schema)
	a.ProfileDB = Open(t, filepath.Join(a.Dir, "profile.db"), store.Schema)
	a.Person = Open(t, filepath.Join(a.Dir, "person.db"), roster.Schema)

	a.Serve("auth", auth.New(a.Cred, a.As("auth"), auth.Options{Iterations: 10}).Methods())
	a.Serve("honeychecker", honeychecker.New(a.Index, time.Now).Methods())
	a.Serve("visits", visits.New(a.VisitsDB, time.Now).Methods())
	a.Serve("bank", bank.New(a.BankDB, a.As("bank"), time.Now).Methods())
	a.Serve("store", store.New(a.ProfileDB, a.As("store")).Methods())
	a.Serve("profile", profile.New(a.As("profile")).Methods())
	a.Serve("roster", roster.New(a.Person).Methods())
	a.Serve("echo", echo.Methods())
	a.Spawn = NewPython(t, a.Monitor)

	a.Site = dynamic.New(a.As("dynamic"), dynamic.Options{})
	server := httptest.NewServer(a.Site)
	t.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

// Open opens a database for the length of the test.
func Open(t *testing.T, path, schema string) *sql.DB {
	t.Helper()
	d, err := db.Open(context.Background(), path, schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}
