package dynamic

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"cofferdam/examples/zoobar/calls"
	"cofferdam/sdk"
)

// maxDelay bounds what the parameter delay of a transfer may ask for.
const maxDelay = 10 * time.Second

// index shows the balance, and lets people edit their profile.
func (p *page) index() error {
	me := p.session
	if p.r.PostForm.Has("profile_submit") {
		update := calls.ProfileUpdate{Username: me.User, Token: me.Token, Text: p.r.PostForm.Get("profile_update")}
		var saved bool
		if err := p.actJSON(calls.StoreSetProfile, update, &saved); err != nil {
			return fmt.Errorf("save profile: %w", err)
		}
		if !saved { // logged in again elsewhere, since this request began
			p.redirect(loginURL(Prefix + "/"))
			return nil
		}
	}
	balance, err := p.balance(me.User)
	if err != nil {
		return err
	}
	text, err := p.profile(me.User)
	if err != nil {
		return err
	}
	return p.render("index", "Balance", struct {
		Balance int64
		Profile string
	}{balance, text})
}

// users shows one user's profile, balance and log.
func (p *page) users() error {
	view := usersView{Name: p.r.FormValue("user")}
	if p.r.Form.Has("user") {
		if err := p.look(&view); err != nil {
			return err
		}
	}
	return p.render("users", "Users", view)
}

type usersView struct {
	Name    string
	Missing bool // asked for, and not there

	Found   bool
	Text    string        // of a profile that is text
	Output  template.HTML // of a profile that is a program
	Balance int64
	Log     []calls.LogEntry
}

func (p *page) look(view *usersView) error {
	known, err := p.knows(view.Name)
	if err != nil {
		return err
	}
	if !known {
		view.Missing = true
		return nil
	}
	view.Found = true
	if view.Text, err = p.profile(view.Name); err != nil {
		return err
	}
	if strings.HasPrefix(view.Text, calls.Magic) {
		view.Output, view.Text = p.run(view.Name)
	}
	// Only now: the program may have given something away.
	if view.Balance, err = p.balance(view.Name); err != nil {
		return err
	}
	return p.site.peers.CallJSON(p.r.Context(), calls.BankGetLog, calls.User{Username: view.Name}, &view.Log)
}

// run returns what the owner's program prints for this visitor, or else what
// is to be read in its place.
func (p *page) run(owner string) (output template.HTML, instead string) {
	body, err := p.act(calls.ProfileRun, calls.Run{User: owner, Visitor: p.session.User})
	if err != nil {
		slog.Error("run profile", "owner", owner, "err", err)
		return "", "Exception: " + reason(err)
	}
	return template.HTML(body), "" // the owner's program writes HTML: that is what it is for
}

// reason is what a visitor may read of an error.
func reason(err error) string {
	var failure *sdk.Failure
	if errors.As(err, &failure) {
		return failure.Message
	}
	return "the profile could not be run"
}

// transfer sends zoobars.
func (p *page) transfer() error {
	p.delay()
	view := struct{ Recipient, Zoobars, Warning string }{
		Recipient: p.r.FormValue("recipient"),
		Zoobars:   p.r.FormValue("zoobars"),
	}
	if p.r.PostForm.Has("recipient") {
		view.Warning = p.send(p.r.PostForm.Get("recipient"), p.r.PostForm.Get("zoobars"))
	}
	return p.render("transfer", "Transfer", view)
}

// send returns the one sentence that says how it went.
func (p *page) send(recipient, amount string) string {
	failed := "Transfer to " + recipient + " failed"
	n, err := parseAmount(amount)
	if err != nil {
		return failed
	}
	order := calls.Transfer{Sender: p.session.User, Recipient: recipient, Zoobars: n, Token: p.session.Token}
	var done calls.Transferred
	if err := p.actJSON(calls.BankTransfer, order, &done); err != nil {
		slog.Error("transfer", "err", err)
		if errors.Is(err, sdk.ErrDeadline) || errors.Is(err, sdk.ErrInterrupted) {
			return failed + " or is not confirmed yet: look at your balance before you try again"
		}
		return failed
	}
	if done.Refused != "" {
		return failed
	}
	return fmt.Sprintf("Sent %d zoobars", n)
}

// parseAmount reads decimal digits and nothing else, at least 1.
func parseAmount(s string) (int64, error) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, fmt.Errorf("amount %q is not a number", s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("amount %q is not a positive number", s)
	}
	return n, nil
}

// delay waits as long as the request asks, at most [maxDelay]: a way to see
// what happens to a transfer while its sender logs in again.
func (p *page) delay() {
	seconds, err := parseAmount(p.r.FormValue("delay"))
	if err != nil {
		return
	}
	p.site.sleep(p.r.Context(), min(time.Duration(min(seconds, 3600))*time.Second, maxDelay))
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// zoobarjs is a script that fills in the visitor's balance.
func (p *page) zoobarjs() error {
	p.w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	if p.session.User == "" {
		return nil
	}
	balance, err := p.balance(p.session.User)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.w, "var myZoobars = %d;\n"+
		"var here = document.getElementById(\"myZoobars\");\n"+
		"if (here) { here.textContent = myZoobars; }\n", balance)
	return err
}

// echo shows who the echo service thinks is calling.
func (p *page) echo() error {
	var answer string
	said := calls.Said{S: p.r.FormValue("s")}
	if err := p.site.peers.CallJSON(p.r.Context(), calls.Echo, said, &answer); err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	return p.render("echo", "Echo", answer)
}

func (p *page) balance(username string) (int64, error) {
	var zoobars *int64
	if err := p.site.peers.CallJSON(p.r.Context(), calls.BankBalance, calls.User{Username: username}, &zoobars); err != nil {
		return 0, fmt.Errorf("balance: %w", err)
	}
	if zoobars == nil {
		return 0, nil
	}
	return max(*zoobars, 0), nil
}

func (p *page) profile(username string) (string, error) {
	var text string
	if err := p.site.peers.CallJSON(p.r.Context(), calls.StoreGetProfile, calls.User{Username: username}, &text); err != nil {
		return "", fmt.Errorf("profile: %w", err)
	}
	return text, nil
}
