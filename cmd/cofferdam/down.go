package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"cofferdam/admin"
)

func downCommand(p *project) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the application",
		Long:  `Down stops every service, politely first, and returns when nothing runs any more.`,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := p.ask(admin.Request{Op: admin.OpStop})
			if err != nil {
				return err
			}
			defer c.Close()
			for err == nil {
				_, err = c.Next()
			}
			if !errors.Is(err, io.EOF) {
				return refused(err)
			}
			if err := p.awaitEnd(); err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr, "stopped")
			return nil
		},
	}
}

// endTimeout is how long an application that has stopped may take to end.
const endTimeout = 10 * time.Second

// awaitEnd waits until the application has given up its lock: then the next one
// can start.
func (p *project) awaitEnd() error {
	name, err := p.running()
	if err != nil {
		return err
	}
	lock, err := os.Open(lockFile(dirsOf(name)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	for deadline := time.Now().Add(endTimeout); ; time.Sleep(2 * time.Millisecond) {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("all services have stopped, but the application still runs after %v; see cofferdam ps", endTimeout)
		}
	}
}
