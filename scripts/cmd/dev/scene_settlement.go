package main

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/local/stack/shop"
)

// tokyo is where the demo shop's business days end, at midnight.
var tokyo = time.FixedZone("Asia/Tokyo", 9*60*60)

// settlement is what the story reads of a settlement.
type settlement struct {
	ID       string `json:"id"`
	Status   string `json:"status"`
	Captured int64  `json:"captured_amount"`
	Refunded int64  `json:"refunded_amount"`
	Fee      int64  `json:"fee_amount"`
	Net      int64  `json:"net_amount"`
	Lines    int64  `json:"line_count"`
	Digest   string `json:"manifest_sha256"`
}

// nightly are events that any night may bring, whatever a scene is about.
func nightly(event string) bool {
	return slices.Contains([]string{"payment.settled", "settlement.completed"}, event)
}

// tellSettlement is a business day and the night after it.
func (s *story) tellSettlement(ctx context.Context) {
	s.heading("A business day ends, and is settled at two in the morning")
	day := s.stack.Clock.Now().In(tokyo)
	midnight := time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, tokyo)
	if left := midnight.Sub(day); left < 10*time.Minute { // the scene is about one day
		s.wait(ctx, left.Round(time.Second)+time.Minute)
		day, midnight = midnight, midnight.AddDate(0, 0, 1)
	}
	paths := s.sell(ctx, 3)
	s.refund(ctx, paths[0], 300, "one of them came back in part")
	s.wait(ctx, midnight.Add(2*time.Hour+5*time.Minute).Sub(s.stack.Clock.Now()).Round(time.Second), append(slices.Repeat([]string{"payment.settled"}, len(paths)), "settlement.completed")...)
	for _, path := range paths {
		s.reads(ctx, path, "SETTLED", func(payment) error { return nil })
	}
	night := s.settled(ctx, day.Format(time.DateOnly))
	s.file(ctx, night)
}

// settled shows the yen's settlement of a business day.
func (s *story) settled(ctx context.Context, day string) (found settlement) {
	s.step(ctx, step{
		"settled", s.get("/v1/settlements?currency=JPY&business_date=" + day), http.StatusOK, func(a shop.Answer) (string, error) {
			var page struct {
				Data []settlement `json:"data"`
			}
			if err := errors.Join(a.Into(&page), want("settlements of the day in yen", len(page.Data), 1)); err != nil {
				return "", err
			}
			found = page.Data[0]
			return fmt.Sprintf("%s  %s: captured %s, refunded %s, fees %s, so %s to pay out", found.Status, found.ID,
					grouped(found.Captured), grouped(found.Refunded), grouped(found.Fee), grouped(found.Net)),
				errors.Join(want("status", found.Status, "COMPLETED"), want("net", found.Net, found.Captured-found.Refunded-found.Fee))
		}, nil,
	})
	return found
}

// file shows the settlement's file, whose bytes are the same whenever it is asked for.
func (s *story) file(ctx context.Context, of settlement) {
	s.step(ctx, step{
		"file", s.get("/v1/settlements/" + of.ID + "/csv"), http.StatusOK, func(a shop.Answer) (string, error) {
			sum := sha256.Sum256(a.Body)
			rows, err := csv.NewReader(strings.NewReader(string(a.Body))).ReadAll()
			return fmt.Sprintf("%d lines, and the digest %.12s… that the settlement has", len(rows)-1, of.Digest),
				errors.Join(err, want("lines", len(rows), of.Lines+1), want("the file's digest", hex.EncodeToString(sum[:]), of.Digest))
		}, nil,
	})
}
