// The pages of this bench begin with nothing: each library is added to a page of its own.
