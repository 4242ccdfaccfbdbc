"""One public function per operation; `reference` holds its plain float64 twin."""
