"""What tests of every service share: a cloud in process, people, the fakes' world, a clock, crashes, contracts."""
