//go:build ignore

// Command gen writes table_gen.go from iso4217.csv.
package main

import (
	"log"
	"os"

	"github.com/tollgate/tollgate/shared/money/internal/isotable"
)

func main() {
	source, err := os.Open("iso4217.csv")
	if err != nil {
		log.Fatal(err)
	}
	table, err := isotable.Generate(source)
	if err != nil {
		log.Fatalf("iso4217.csv: %v", err)
	}
	if err := os.WriteFile("table_gen.go", table, 0o644); err != nil {
		log.Fatal(err)
	}
}
