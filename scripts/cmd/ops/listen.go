package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/webhook/endpoint"
)

// partingTime is how long removing the endpoint and answering what is under way may take, once listening ends.
const partingTime = 3 * time.Second

func webhooksListen(f *flag.FlagSet) action {
	forward, of, events := f.String("forward-to", "", ""), f.String("merchant", "", ""), f.String("events", "", "")
	return func(ctx context.Context, s *session, _ []string) (result, error) {
		if !s.local {
			return nil, errors.New("webhooks listen is for the local stack alone: a deployment sends to public addresses only")
		}
		target, err := forwardTarget(*forward)
		if err != nil {
			return nil, err
		}
		m, err := s.listenedTo(ctx, *of)
		if err != nil {
			return nil, err
		}
		return nil, s.listen(ctx, m, target, words(*events))
	}
}

// forwardTarget reads where events are forwarded to; nil: nowhere.
func forwardTarget(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	target, err := url.Parse(text)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, usageError(fmt.Sprintf("--forward-to %q is not an address such as http://localhost:3000/hook", text))
	}
	return target, nil
}

// named is a merchant.
type named struct {
	ID   external[ofMerchant] `db:"id"`
	Name string               `db:"name"`
}

const selectListened = `SELECT id, name FROM merchants WHERE $1::uuid IS NULL OR id = $1 ORDER BY created_at, id LIMIT 2`

// listenedTo is the merchant that is named, or the only one.
func (s *session) listenedTo(ctx context.Context, text string) (named, error) {
	var only *id.ID
	if text != "" {
		m, err := parseID[ofMerchant](text)
		if err != nil {
			return named{}, err
		}
		only = &m.ID
	}
	found, err := query[named](ctx, s, selectListened, only)
	switch {
	case err != nil:
		return named{}, err
	case len(found) == 0 && only != nil:
		return named{}, fmt.Errorf("there is no merchant %s", text)
	case len(found) == 0:
		return named{}, errors.New("there are no merchants. Make one: scripts/ops merchants create --name NAME")
	case len(found) > 1:
		return named{}, usageError("there are several merchants: name one by --merchant; see scripts/ops merchants list")
	}
	return found[0], nil
}

// listen has an endpoint of its own in the merchant's name until ctx ends.
func (s *session) listen(ctx context.Context, m named, target *url.URL, events []string) error {
	endpoints, err := s.endpoints(ctx)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	made, secret, err := endpoints.Create(ctx, m.ID.ID, endpoint.New{
		URL: "http://" + l.Addr().String() + "/", Description: "scripts/ops webhooks listen", EventTypes: events,
	})
	if err != nil {
		return err
	}
	ear := newListener(s, target, secret.Reveal())
	server := &http.Server{Handler: ear, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	ear.opened(m, made.ID)
	go func() { ended <- server.Serve(l) }()
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	parting, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingTime)
	defer cancel()
	// First of all nothing is to be sent any more to where nobody will be.
	if gone := endpoints.Delete(parting, m.ID.ID, made.ID); gone != nil {
		err = errors.Join(err, fmt.Errorf("the endpoint %s could not be removed: %w", id.Endpoint.External(made.ID), gone))
	} else {
		ear.closed(made.ID)
	}
	if server.Shutdown(parting) != nil { // a target that does not answer is not waited for
		err = errors.Join(err, server.Close())
	}
	return err
}
