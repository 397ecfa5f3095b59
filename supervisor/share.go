package supervisor

import (
	"context"
	"fmt"
	"os"
	"time"

	"cofferdam/executor"
	"cofferdam/manifest"
	"cofferdam/monitor"
)

// openTimeout bounds the opening of a share, which may lie on a slow file system.
const openTimeout = 10 * time.Second

// openShares opens the directories that may be mounted, once: what takes their
// places later is not what the operator has shared.
func (s *Supervisor) openShares() error {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	for _, share := range s.now().app.Shares {
		root, err := s.Executor.Open(ctx, share.From)
		if err != nil {
			s.closeShares()
			return fmt.Errorf("%s:%d: share %q: %w", s.now().app.File, share.Pos.Line, share.Name, err)
		}
		s.shares = append(s.shares, root)
	}
	return nil
}

func (s *Supervisor) closeShares() {
	for _, root := range s.shares {
		root.Close()
	}
	s.shares = nil
}

// sharesOf is what the manifest shares in the monitor's words.
func sharesOf(app *manifest.App) (all []monitor.Share) {
	for _, s := range app.Shares {
		size := s.SizeBytes
		if size == manifest.Unlimited {
			size = executor.Unlimited
		}
		all = append(all, monitor.Share{Name: s.Name, From: s.From, Writable: s.Writable, SizeBytes: size, Label: s.Label})
	}
	return all
}

// mountPoints is where shares can be mounted in instances of a service; false
// if nobody may mount any there.
func mountPoints(app *manifest.App, service string) (executor.Mount, bool) {
	m := executor.Mount{Kind: executor.MountPoints, Target: monitor.SharesDir, SizeBytes: executor.Unlimited}
	any := false
	for _, g := range app.SharesIn(service) {
		any = true
		s := app.Share(g.Name)
		m.Writable = m.Writable || s.Writable
		if s.Writable && s.SizeBytes != manifest.Unlimited && (m.SizeBytes == executor.Unlimited || s.SizeBytes < m.SizeBytes) {
			m.SizeBytes = s.SizeBytes
		}
	}
	return m, any
}

// mounter shows directories in a process.
type mounter struct{ proc executor.Process }

func (m mounter) Mount(ctx context.Context, dir *os.File, target string, writable bool, sizeBytes int64) error {
	return m.proc.Mount(ctx, executor.Share{Dir: dir, Target: target, Writable: writable, SizeBytes: sizeBytes})
}

func (m mounter) Unmount(ctx context.Context, target string) error {
	return m.proc.Unmount(ctx, target)
}

// Mounted is a directory of the host that an instance is shown, and MountedBy who
// has a reference to it.
type (
	Mounted   = monitor.Mounted
	MountedBy = monitor.MountedBy
)

// Mounts lists what is mounted, by instance and directory.
func (s *Supervisor) Mounts() []Mounted { return s.monitor.Mounts() }
