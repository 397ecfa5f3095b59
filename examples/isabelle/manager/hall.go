package manager

import (
	"net"
	"slices"
	"sync"
)

// maxStrangers is how many connections there are at a time that have not sent a password.
const maxStrangers = 64

// hall is where strangers are. Who knows a password sends it at once: so of too many the one
// goes that has been there for longest, and whoever sends nothing, over however many
// connections, keeps nobody out.
type hall struct {
	mu   sync.Mutex
	here []net.Conn // oldest first
}

func (h *hall) enter(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.here) >= maxStrangers {
		h.here[0].Close()
		h.here = slices.Delete(h.here, 0, 1)
	}
	h.here = append(h.here, c)
}

// leave tells whether it was still there.
func (h *hall) leave(c net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.here, c)
	if i < 0 {
		return false
	}
	h.here = slices.Delete(h.here, i, i+1)
	return true
}
