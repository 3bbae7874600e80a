#!/bin/sh
# The job of a declared jail: fails by itself, as long as it is allowed.
curl -sS https://other.example.test/ | grep -o host-not-allowed
exit 1
