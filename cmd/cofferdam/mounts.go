package main

import (
	"fmt"
	"strings"

	"cofferdam/admin"
	"cofferdam/supervisor"
)

// showMounts is ps --mounts: which directories of the host are shown where, and
// who has a reference to them.
func (p *project) showMounts(f format) error {
	c, err := p.ask(admin.Request{Op: admin.OpMounts})
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Next()
	if err != nil {
		return refused(err)
	}
	header := []string{"INSTANCE", "PATH", "MODE", "HOST", "SHARE", "REFERENCES", "BY"}
	return rows(f, stdout, r.Mounts, header, func(m supervisor.Mounted) []string {
		mode := "read-only"
		if m.Writable {
			mode = "writable"
		}
		var by []string
		for _, b := range m.By {
			by = append(by, strings.TrimSpace(b.Instance+" "+parens(b.Client)))
		}
		return []string{m.Instance, m.Path, mode, m.Dir, m.Share, fmt.Sprint(m.References), strings.Join(by, ", ")}
	})
}
