// Gopher is a player in Go: it beats the move that the other has made most often.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"cofferdam/sdk"
)

var beatenBy = map[string]string{"rock": "paper", "paper": "scissors", "scissors": "rock"}

func main() {
	log.SetFlags(0)
	var rounds []struct{ Theirs string }
	if err := json.Unmarshal([]byte(os.Args[len(os.Args)-1]), &rounds); err != nil {
		log.Fatal(err)
	}
	count := make(map[string]int)
	most := "scissors"
	for _, r := range rounds {
		if count[r.Theirs]++; count[r.Theirs] > count[most] {
			most = r.Theirs
		}
	}
	ctx := context.Background()
	me, err := sdk.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	mine, err := me.Labels(ctx)
	if err != nil {
		log.Fatal(err)
	}
	move, err := me.Seal(ctx, mine.Label, []byte(beatenBy[most]), sdk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := mine.Handles[0].Mailbox().Post(ctx, nil, sdk.Options{Handles: []sdk.Handle{move.Handle}}); err != nil {
		log.Fatal(err)
	}
}
