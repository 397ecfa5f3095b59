package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"

	"cofferdam/audit"
)

// tellTrouble prints what the log records of itself: that its disk is nearly full and
// nothing is permitted any more, that it could not go on in another file, or deleted some.
// It ends with the log.
func tellTrouble(log *audit.Log, logger *slog.Logger) {
	w, _, err := log.Watch(func(r audit.Record) bool { return r.Kind == audit.KindApp && r.Object == "audit log" })
	if err != nil {
		return // it is broken already, and whoever wanted to record something was told
	}
	for {
		lines, _, err := w.Next(context.Background())
		if err != nil {
			return
		}
		for line := range bytes.Lines(lines) {
			var r audit.Record
			if json.Unmarshal(line, &r) == nil {
				logger.Warn("audit log", "what", r.Op, "detail", r.Detail)
			}
		}
	}
}
