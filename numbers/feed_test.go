package numbers

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// feeds are the two ends of a feed that answers with s.
func feeds(t *testing.T, s Snapshot) (theirs net.Conn, ended <-chan struct{}) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ServeFeed(ours, func(want byte) any {
			if want == WantSnapshot {
				return s
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		theirs.Close()
		<-done
	})
	return theirs, done
}

func TestFeed(t *testing.T) {
	// Longer than any buffer.
	theirs, _ := feeds(t, Snapshot{Version: strings.Repeat("v", 1<<20), Services: []Service{{Name: "bank", Starts: 3}}})
	feed := NewFeed(theirs)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			var s Snapshot
			if err := feed.Ask(WantSnapshot, &s); err != nil || len(s.Version) != 1<<20 || s.Service("bank").Starts != 3 {
				t.Errorf("Ask = %v, %d bytes", err, len(s.Version))
			}
		})
	}
	all.Wait()
	var s *Snapshot
	if err := feed.Ask('x', &s); err != nil || s != nil {
		t.Errorf("an unknown wish gets %v, %v", s, err)
	}
	theirs.Close()
	if err := feed.Ask(WantSnapshot, &s); err == nil {
		t.Error("Ask of a closed feed succeeds")
	}
}

// TestFeedIsNotWaitedFor: who asks and does not read is given up.
func TestFeedIsNotWaitedFor(t *testing.T) {
	patience := feedPatience
	feedPatience = 50 * time.Millisecond
	defer func() { feedPatience = patience }()
	theirs, ended := feeds(t, Snapshot{})
	if _, err := theirs.Write([]byte{WantSnapshot}); err != nil {
		t.Fatal(err)
	}
	<-ended
}
