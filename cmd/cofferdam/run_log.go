package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/supervisor"
)

// runLogPatience is how long a run waits for others to finish their record.
const runLogPatience = 10 * time.Second

// runLog is the one audit log that all single runs of a user share. A log has
// one writer at a time, so each run takes it for the moment of a record and
// gives it back: the chain goes through all runs in the order they recorded.
type runLog struct {
	path     string
	name     string   // of the instance
	degraded []string // what the host lacks and the run goes without
}

// openRunLog makes the place for the log.
func openRunLog(spec *executor.Spec, degraded []string) (*runLog, error) {
	dirs := dirsOf(runName)
	return &runLog{path: auditLog(dirs), name: spec.Name, degraded: degraded}, prepareDirs(dirs)
}

// start records what is about to run. A run that cannot be recorded does not
// happen.
func (l *runLog) start(spec *executor.Spec) error {
	detail := fmt.Sprintf("command %q", spec.Command.Args)
	for _, m := range spec.Mounts {
		if m.Kind == executor.MountBind {
			way := "ro"
			if m.Writable {
				way = "rw"
			}
			detail += fmt.Sprintf(" %s %q at %q", way, m.Source, m.Target)
		}
	}
	if len(spec.AllowDegraded) > 0 {
		detail += fmt.Sprintf(" allow_degraded %q", spec.AllowDegraded)
	}
	return l.add(audit.Record{Kind: audit.KindStart, Op: "start", Object: filepath.Base(spec.Command.Args[0]), Detail: detail})
}

// failed records that the start did not succeed. The error of the start is the
// one to tell, so there is none here.
func (l *runLog) failed(err error) {
	l.add(audit.Record{Kind: audit.KindExit, Op: "start", Detail: err.Error()})
}

// end records how it ended, and the limit that ended it if one did.
func (l *runLog) end(e executor.Exit) error {
	var records []audit.Record
	if e.Limit != "" {
		records = append(records, audit.Record{Kind: audit.KindLimit, Op: string(e.Cause), Object: e.Key, Detail: "limit " + e.Limit})
	}
	return l.add(append(records, audit.Record{
		Kind:   audit.KindExit,
		Op:     "exit",
		Object: string(e.Cause),
		Detail: fmt.Sprintf("code %d %s", e.Code, e.Detail),
		End:    supervisor.EndOf(e),
	})...)
}

func (l *runLog) add(records ...audit.Record) error {
	log, err := l.open()
	if err != nil {
		return err
	}
	for _, r := range records {
		r.Subject, r.Instance = runName, l.name
		if _, err := log.Append(r); err != nil {
			log.Close()
			return err
		}
	}
	return log.Close()
}

// open waits its turn.
func (l *runLog) open() (*audit.Log, error) {
	for deadline := time.Now().Add(runLogPatience); ; {
		log, err := audit.Open(l.path, audit.Options{Degraded: l.degraded})
		if !errors.Is(err, audit.ErrLocked) || time.Now().After(deadline) {
			return log, err
		}
		time.Sleep(time.Millisecond + rand.N(4*time.Millisecond))
	}
}
